@file:Suppress("UNUSED_PARAMETER", "unused")

package android.graphics

import android.content.res.AssetManager

class Bitmap(private val colours: IntArray, val width: Int, val height: Int) {
    fun getPixels(
        pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int
    ) {
        check(offset == 0 && x == 0 && y == 0 && stride == width)
        colours.copyInto(pixels)
    }
}

class ImageDecoder {
    var allocator: Int = 0

    abstract class Source

    class ImageInfo

    fun interface OnHeaderDecodedListener {
        fun onHeaderDecoded(decoder: ImageDecoder, info: ImageInfo, source: Source)
    }

    companion object {
        const val ALLOCATOR_SOFTWARE = 1

        @JvmStatic fun createSource(assets: AssetManager, name: String): Source = error("not here")

        @JvmStatic
        fun decodeBitmap(source: Source, listener: OnHeaderDecodedListener): Bitmap =
            error("not here")
    }
}
