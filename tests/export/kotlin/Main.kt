// Runs what the snippets prepare, for `test_kotlin.py`, which writes the inputs and reads the rest.
package main

import android.content.Context
import android.content.res.AssetManager
import android.graphics.Bitmap
import com.google.ai.edge.litert.CompiledModel
import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File

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
