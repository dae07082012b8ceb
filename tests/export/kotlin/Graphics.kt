@file:Suppress("UNUSED_PARAMETER", "unused")

package android.graphics

import android.content.res.AssetManager
import java.io.InputStream
import javax.imageio.ImageIO

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

    class Source internal constructor(internal val stream: InputStream)

    class ImageInfo

    fun interface OnHeaderDecodedListener {
        fun onHeaderDecoded(decoder: ImageDecoder, info: ImageInfo, source: Source)
    }

    companion object {
        const val ALLOCATOR_SOFTWARE = 1

        @JvmStatic
        fun createSource(assets: AssetManager, name: String) = Source(assets.open(name))

        /** Only what Java decodes to the same levels: PNG without an orientation. */
        @JvmStatic
        fun decodeBitmap(source: Source, listener: OnHeaderDecodedListener): Bitmap {
            listener.onHeaderDecoded(ImageDecoder(), ImageInfo(), source)
            val image = ImageIO.read(source.stream)
            val (width, height) = image.width to image.height
            return Bitmap(image.getRGB(0, 0, width, height, null, 0, width), width, height)
        }
    }
}
