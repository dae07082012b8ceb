// Runs what the snippets prepare, for `test_kotlin.py`, which writes the inputs and reads the rest.
package main

import android.content.Context
import android.content.res.AssetManager
import android.graphics.Bitmap
import com.google.ai.edge.litert.CompiledModel
import java.io.ByteArrayOutputStream
import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File
import java.nio.ByteBuffer

fun interface ImageCase { fun inputs(colours: IntArray, width: Int, height: Int): Map<String, Any> }

/** Width, height and colours of each picture in; the tensors, in the order of their names, out. */
fun images(folder: String, case: ImageCase) = answer(folder) { input, output ->
    val (width, height) = input.readInt() to input.readInt()
    write(output, case.inputs(IntArray(width * height) { input.readInt() }, width, height))
}

/** UTF-8 texts in; the tensors out. */
fun texts(folder: String, inputs: (String) -> Map<String, Any>) = answer(folder) { input, output ->
    val bytes = ByteArray(input.readInt())
    input.readFully(bytes)
    write(output, inputs(String(bytes, Charsets.UTF_8)))
}

/** Lists of token ids in; the tensors out. */
fun tokens(folder: String, inputs: (LongArray) -> Map<String, Any>) = answer(folder) { input, output ->
    write(output, inputs(LongArray(input.readInt()) { input.readInt().toLong() }))
}

/** UTF-8 texts in; of each the number of entities and what they are out. */
fun entities(folder: String, found: (String) -> List<Found>) = answer(folder) { input, output ->
    val bytes = ByteArray(input.readInt())
    input.readFully(bytes)
    val entities = found(String(bytes, Charsets.UTF_8))
    output.writeInt(entities.size)
    for (entity in entities) {
        output.writeInt(entity.start)
        output.writeInt(entity.end)
        output.writeFloat(entity.score)
        for (text in listOf(entity.type, entity.text)) {
            output.writeInt(text.toByteArray().size)
            output.write(text.toByteArray())
        }
    }
}

class Found(val text: String, val start: Int, val end: Int, val type: String, val score: Float)

/** Makes the model answer as it did when it was asked the same in Python. */
fun answerAsRecorded(folder: String) {
    val recorded = mutableMapOf<ByteBuffer, FloatArray>()
    DataInputStream(File(folder, "answers.bin").inputStream().buffered()).use { input ->
        repeat(input.readInt()) {
            val asked = ByteArray(input.readInt()).also { input.readFully(it) }
            recorded[ByteBuffer.wrap(asked)] = FloatArray(input.readInt()) { input.readFloat() }
        }
    }
    CompiledModel.answer = { tensors ->
        val asked = ByteArrayOutputStream().also { write(DataOutputStream(it), tensors) }
        checkNotNull(recorded[ByteBuffer.wrap(asked.toByteArray())]) { "Python asked otherwise" }
    }
}

/** What a library made of words in Python. */
fun recordedPieces(folder: String): (String) -> LongArray {
    val recorded = mutableMapOf<String, LongArray>()
    DataInputStream(File(folder, "pieces.bin").inputStream().buffered()).use { input ->
        repeat(input.readInt()) {
            val word = ByteArray(input.readInt()).also { input.readFully(it) }
            recorded[String(word)] = LongArray(input.readInt()) { input.readInt().toLong() }
        }
    }
    return { checkNotNull(recorded[it]) { "Python asked for other words" } }
}

fun context(folder: String) = Context(AssetManager(File(folder)))

fun bitmap() = Bitmap(IntArray(20 * 30) { it * 1000 }, 20, 30)

fun lines(folder: String, name: String) = File(folder, name).readLines()

/** What was predicted, and what the model was asked for it. */
fun say(folder: String, prediction: Any) {
    File(folder, "said.txt").writeText("$prediction\n${CompiledModel.asked}")
}

private fun answer(folder: String, one: (DataInputStream, DataOutputStream) -> Unit) {
    DataInputStream(File(folder, "inputs.bin").inputStream().buffered()).use { input ->
        DataOutputStream(File(folder, "outputs.bin").outputStream().buffered()).use { output ->
            repeat(input.readInt()) { one(input, output) }
        }
    }
}

private fun write(output: DataOutputStream, tensors: Map<String, Any>) {
    for ((_, values) in tensors.toSortedMap()) {
        when (values) {
            is FloatArray -> values.forEach { output.writeFloat(it) }
            is IntArray -> values.forEach { output.writeInt(it) }
            is ByteArray -> output.write(values)
            else -> error("unknown")
        }
    }
}
