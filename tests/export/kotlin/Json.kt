// What the snippets use of org.json, as it is declared there, on a reader of JSON that is valid.
package org.json

class JSONObject(values: Map<*, *>) {
    private val values = values.toMutableMap<Any?, Any?>()

    constructor() : this(emptyMap<String, Any>())
    constructor(text: String) : this(Reader(text).value() as Map<*, *>)

    fun put(name: String, value: Any): JSONObject = apply { values[name] = value }
    override fun toString() = values.entries.joinToString(",", "{", "}") { (name, value) ->
        "\"$name\":${written(value)}"
    }

    fun getJSONArray(name: String) = JSONArray(values.getValue(name) as List<*>)
    fun getString(name: String): String = values.getValue(name) as String
    fun getDouble(name: String): Double = values.getValue(name) as Double
    fun getInt(name: String): Int = getDouble(name).toInt()
}

private fun Map<*, *>.getValue(name: String) = checkNotNull(this[name]) { "there is no $name" }

private fun written(value: Any?) = if (value is String) "\"$value\"" else "$value"

class JSONArray(values: Collection<*>) {
    private val values = values.toMutableList<Any?>()

    constructor() : this(emptyList<Any>())

    fun put(value: Any): JSONArray = apply { values.add(value) }
    override fun toString() = values.joinToString(",", "[", "]") { written(it) }
    fun length(): Int = values.size
    fun getJSONObject(index: Int) = JSONObject(values[index] as Map<*, *>)
    fun getJSONArray(index: Int) = JSONArray(values[index] as List<*>)
    fun getString(index: Int): String = values[index] as String
    fun getDouble(index: Int): Double = values[index] as Double
}

private val ESCAPED =
    mapOf('n' to '\n', 't' to '\t', 'r' to '\r', 'b' to '\b', 'f' to '\u000c')

private class Reader(private val text: String) {
    private var at = 0

    fun value(): Any? {
        val first = skipped()
        if (first == '{') return list('}') { name() to value() }.toMap()
        if (first == '[') return list(']') { value() }
        if (first == '"') return string()
        val word = text.substring(at).takeWhile { it !in ",]} \n" }.also { at += it.length }
        return if (word == "null") null else word.toBooleanStrictOrNull() ?: word.toDouble()
    }

    private fun name(): String {
        skipped()
        return string().also { check(skipped() == ':') }.also { at++ }
    }

    private fun skipped(): Char {
        while (text[at].isWhitespace()) at++
        return text[at]
    }

    private fun <T> list(end: Char, one: () -> T): List<T> {
        val found = mutableListOf<T>()
        at++
        while (skipped() != end) {
            found += one()
            if (skipped() == ',') at++
        }
        at++
        return found
    }

    private fun string(): String {
        val found = StringBuilder()
        while (text[++at] != '"') {
            if (text[at] != '\\') {
                found.append(text[at])
            } else if (text[++at] == 'u') {
                found.append(text.substring(at + 1, at + 5).toInt(16).toChar())
                at += 4
            } else {
                found.append(ESCAPED.getOrDefault(text[at], text[at]))
            }
        }
        at++
        return found.toString()
    }
}
