// What the snippets use of Android, for a machine without it: as declared there, and no more.
@file:Suppress("UNUSED_PARAMETER", "unused")

package android.content.res

import java.io.File
import java.io.InputStream

class AssetManager(private val folder: File) {
    fun open(name: String): InputStream = File(folder, name).inputStream()
}
