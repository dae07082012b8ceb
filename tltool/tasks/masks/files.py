"""Masks: pictures that hold a class for each pixel, and what their values or colours mean.

A mask is read as grey levels, palette numbers or colours; whichever it is, each
has a class in a `ClassTable`, which is given or found in the masks themselves.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.support.errors import DataError
from tltool.support.threads import map_in_threads
from tltool.support.words import count
from tltool.tasks.values import BadValueError, as_text

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

IGNORED = 255
"""The class number of pixels that count for nothing."""
MOST_CLASSES = 255
MOST_FOUND = 64
"""Different values up to which masks without a table of classes are taken for masks."""
_SHOWN = 5
_ORIENTATION = 0x0112
_BLACK_IS_HIGHEST = 0  # TIFF 6.0, section 8

Code = int | tuple[int, int, int]
"""What stands for a class in masks: a grey level or palette number, or a colour (R, G, B)."""


@dataclass(frozen=True)
class ClassTable:
    """What the values of masks mean.

    Attributes:
        names: Of the classes, in the order of their numbers.
        codes: What stands for each in the masks: all of them values, or all colours.
        ignored: What stands for pixels that count for nothing; None for nothing.
        found: Whether the table was found in the masks and not given.
    """

    names: tuple[str, ...]
    codes: tuple[Code, ...]
    ignored: Code | None = None
    found: bool = False

    @classmethod
    def given(cls, classes: Mapping[str, Any], ignored: Any = None) -> ClassTable:
        """The table of `data.mask_classes` and `data.mask_ignored`.

        Raises:
            DataError: Names, values or colours that cannot be, all of them told.
        """
        codes: dict[str, Code] = {}
        faults = []
        for name, value in (*classes.items(), ("mask_ignored", ignored)):
            try:
                if value is not None:
                    codes[name] = code_of(value)
            except BadValueError as error:
                faults.append(f"{name}: {error}")
        left_out = None if ignored is None else codes.pop("mask_ignored", None)
        known = tuple(codes.values())
        if faults := faults or _table_faults(known, left_out):
            raise DataError(
                "\n  ".join(["data.mask_classes cannot be used:", *faults]),
                hint="write a value 0..65535 for each class, or a colour such as '#ff0000'",
            )
        if left_out is None and not isinstance(known[0], tuple) and IGNORED not in known:
            left_out = IGNORED
        return cls(tuple(classes), known, left_out)

    @property
    def coloured(self) -> bool:
        """Whether classes are told by colours."""
        return isinstance(self.codes[0], tuple)

    @cached_property
    def _numbers(self) -> dict[int, int]:
        numbers = {_packed(code): number for number, code in enumerate(self.codes)}
        return numbers if self.ignored is None else {_packed(self.ignored): IGNORED, **numbers}

    def number(self, value: int) -> int | None:
        """The class number of a value, or of a colour as one number; None where it has none."""
        return self._numbers.get(value)

    def numbers(self, values: Array) -> Array:
        """Values (h, w), colours as one number each, to class numbers, uint8.

        Raises:
            KeyError: One of them is not in the table.
        """
        import numpy as np

        found, places = np.unique(values, return_inverse=True)
        known = np.array([self._numbers[value] for value in found.tolist()], np.uint8)
        return known[places].reshape(values.shape)

    def to_json(self) -> dict[str, Any]:
        """Values by name, and what is ignored."""
        return {
            "classes": dict(zip(self.names, map(_told_in_json, self.codes), strict=True)),
            "ignored": None if self.ignored is None else _told_in_json(self.ignored),
        }


def code_of(value: Any) -> Code:
    """A class's value or colour as it is written in a recipe or a manifest.

    Raises:
        BadValueError: It is neither a whole number 0..65535, `#rrggbb`, nor three numbers 0..255.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 16:
        return value
    if isinstance(value, str) and len(value) == 7 and value.startswith("#"):
        try:
            red, green, blue = bytes.fromhex(value[1:])
        except ValueError:
            raise BadValueError(f"{value!r} is no colour") from None
        return red, green, blue
    three = isinstance(value, list | tuple) and len(value) == 3
    if three and all(isinstance(level, int) and 0 <= level < 256 for level in value):
        red, green, blue = value
        return red, green, blue
    raise BadValueError(f"{value!r} is neither a value 0..65535 nor a colour such as '#ff0000'")


def _table_faults(codes: Sequence[Code], ignored: Code | None) -> list[str]:
    faults = []
    if len(codes) < 2:
        faults.append(f"{count(len(codes), 'class')}, where two at least are needed")
    if len(codes) > MOST_CLASSES:
        faults.append(f"{len(codes)} classes; at most {MOST_CLASSES} can be told apart")
    every = [*codes, *([] if ignored is None else [ignored])]
    if len({isinstance(code, tuple) for code in every}) > 1:
        faults.append("some classes have values and others colours")
    twice = sorted({told(code) for code in every if every.count(code) > 1})
    if twice:
        faults.append(f"{', '.join(twice)} stands for more than one class")
    return faults


def told(code: Code) -> str:
    """A value or a colour for people."""
    return "#{:02x}{:02x}{:02x}".format(*code) if isinstance(code, tuple) else str(code)


def _told_in_json(code: Code) -> int | str:
    return told(code) if isinstance(code, tuple) else code


def _packed(code: Code) -> int:
    if isinstance(code, tuple):
        red, green, blue = code
        return red << 16 | green << 8 | blue
    return code


def _unpacked(value: int, coloured: bool) -> Code:
    return (value >> 16, value >> 8 & 255, value & 255) if coloured else value


@dataclass(frozen=True, eq=False)
class Mask:
    """The classes of a picture's pixels; decoded when they are asked for.

    Masks with the same classes at the same pixels are equal, wherever they come from.

    Attributes:
        source: An image file (path, or its bytes).
        table: What its values mean.
        size: Height and width in pixels, upright.
        counts: Pixels of each class.
        digest: Of the values of all pixels.
    """

    source: str | bytes = field(repr=False)
    table: ClassTable = field(repr=False)
    size: tuple[int, int]
    counts: tuple[int, ...]
    digest: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __lt__(self, other: Mask) -> bool:
        return self.digest < other.digest

    def __str__(self) -> str:
        if isinstance(self.source, str):
            return self.source
        return "mask of {} x {} pixels".format(*reversed(self.size))

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the classes that some pixel has."""
        return tuple(n for n, pixels in zip(self.table.names, self.counts, strict=True) if pixels)

    def numbers(self) -> Array:
        """The class number of each pixel, uint8 (height, width); `IGNORED` where it has none.

        Raises:
            DataError: The file cannot be read any more, or has other values than it had.
        """
        try:
            return self.table.numbers(_values_of(self.source, self.table.coloured)[0])
        except (BadValueError, KeyError) as error:
            raise DataError(
                f"{self}: this mask has changed since it was checked: {error}"
            ) from error


@dataclass(frozen=True)
class _Scan:
    """What one mask holds.

    Attributes:
        source: As in `Mask`.
        coloured: Whether it has colours.
        size: Height and width.
        values: Values, colours as one number, and how many pixels have each.
        digest: As in `Mask`.
        palette: The colour of each value, where those are the numbers of a palette.
    """

    source: str | bytes
    coloured: bool
    size: tuple[int, int]
    values: dict[int, int]
    digest: str
    palette: Mapping[int, Code] = field(default_factory=dict)


class MaskReader:
    """Reads the masks of rows; what is wrong with one is told when it is read.

    Args:
        cells: Of all rows: paths, images' bytes, or arrays: class values (h, w), or colours
            (h, w, 3).
        table: None finds out what values there are.
        ignored: Where there is no table, what stands for pixels that count for nothing.
    """

    def __init__(
        self, cells: Sequence[Any], table: ClassTable | None, ignored: Code | None = None
    ) -> None:
        scans = self._scanned(cells, bool(table and table.coloured))
        mixed = {scan.coloured for scan in scans.values() if isinstance(scan, _Scan)}
        if table is None and len(mixed) > 1:
            # Grey pictures and palettes among coloured ones: their colours count.
            scans = self._scanned(cells, True)
        self._scans = scans
        usable = [scan for scan in scans.values() if isinstance(scan, _Scan)]
        self.table = table or _found_table(usable, ignored)

    def _scanned(self, cells: Sequence[Any], coloured: bool) -> dict[Any, _Scan | BadValueError]:
        wanted = list({_key(cell): cell for cell in cells}.items())

        def scan(item: tuple[Any, Any]) -> _Scan | BadValueError:
            try:
                return _scan(item[1], coloured)
            except BadValueError as error:
                return error

        found = map_in_threads(scan, wanted, os.cpu_count() or 1)
        return {key: one for (key, _), one in zip(wanted, found, strict=True)}

    def __call__(self, cell: Any) -> Mask:
        """The mask of one row.

        Raises:
            BadValueError: It is missing, cannot be read, or has values that are no class.
        """
        scan, table = self._scans[_key(cell)], self.table
        if isinstance(scan, BadValueError):
            raise scan
        assert table is not None, "a mask that was read has values"
        if table.found and len(table.names) > MOST_FOUND:
            raise _too_many(f"the masks have {len(table.names):,}")
        counts = [0] * len(table.names)
        strange = {}
        for value, pixels in scan.values.items():
            number = table.number(value)
            if number is None:
                strange[told(_unpacked(value, scan.coloured))] = pixels
            elif number != IGNORED:
                counts[number] += pixels
        if strange:
            known = ", ".join(map(told, table.codes))
            some = ", ".join(list(strange)[:_SHOWN]) + (" …" if len(strange) > _SHOWN else "")
            raise BadValueError(
                f"the mask has pixels of {some} ({sum(strange.values()):,} of "
                f"{sum(scan.values.values()):,} pixels), which is no class; the classes are {known}"
            )
        return Mask(scan.source, table, scan.size, tuple(counts), scan.digest)


def _found_table(scans: Sequence[_Scan], ignored: Code | None) -> ClassTable | None:
    """The values of all masks as classes, in their order.

    255 is what other programs write for "ignored", so it is where there are
    two other values at least: in masks of 0 and 255 it is a class.

    Raises:
        DataError: A number of their palettes has several colours.
    """
    values = sorted({value for scan in scans for value in scan.values})
    if not values:
        return None
    coloured = any(scan.coloured for scan in scans)
    _check_palettes(scans)
    if ignored is None and not coloured and IGNORED in values and len(values) > 2:
        ignored = IGNORED
    if ignored is not None:
        values = [value for value in values if value != _packed(ignored)]
    codes = tuple(_unpacked(value, coloured) for value in values)
    names = tuple(f"class {told(c)}" if v else "background"
                  for v, c in zip(values, codes, strict=True))  # fmt: skip
    return ClassTable(names, codes, ignored, found=True)


def _check_palettes(scans: Sequence[_Scan]) -> None:
    """Raises DataError where a number has several colours, as programs write palettes that choose
    their numbers anew for each file: then the number may not say the class."""
    first: dict[int, tuple[Code, _Scan]] = {}
    for scan in scans:
        for value, colour in scan.palette.items():
            known, other = first.setdefault(value, (colour, scan))
            if known != colour:
                raise DataError(
                    f"The palettes of the masks differ: {value} is {told(known)} in "
                    f"{_named(other)} and {told(colour)} in {_named(scan)}.",
                    hint="say whether numbers or colours are classes, by data.mask_classes with a "
                    f"number for each class, such as {value}, or with a colour, such as "
                    f"'{told(known)}'",
                )


def _named(scan: _Scan) -> str:
    return scan.source if isinstance(scan.source, str) else "another mask"


def _too_many(what: str) -> BadValueError:
    return BadValueError(
        f"{what} different values, too many to be classes: are they pictures, or masks that were "
        "saved with loss (JPEG) or smoothed? data.mask_classes says what is a class"
    )


def _key(cell: Any) -> Any:
    return cell if isinstance(cell, str | bytes) else id(cell)


def _scan(cell: Any, coloured: bool) -> _Scan:
    import numpy as np

    source = _source_of(cell)
    values, has_colours, palette = _values_of(source, coloured)
    found, counts = np.unique(values, return_counts=True)
    most = MOST_CLASSES + 1  # all classes, and what is ignored
    if len(found) > most:
        raise _too_many(f"the mask has more than {most}")
    digest = hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()
    height, width = values.shape
    levels = dict(zip(found.tolist(), counts.tolist(), strict=True))
    colours = {value: palette[value] for value in levels if value < len(palette)}
    return _Scan(source, has_colours, (height, width), levels, digest, colours)


def _source_of(cell: Any) -> str | bytes:
    """A path, or the bytes of an image file (PNG, without loss, of arrays)."""
    if isinstance(cell, bytes) and cell:
        return cell
    if getattr(cell, "ndim", 0):
        return png_of(cell)
    try:
        text = as_text(cell).strip()
    except BadValueError as error:
        raise BadValueError(f"the mask {error}") from None
    if not text:
        raise BadValueError("the mask is missing")
    return text


def png_of(values: Any) -> bytes:
    """An array of class values (h, w), or of colours (h, w, 3), as a PNG file.

    Raises:
        BadValueError: It is no such array.
    """
    import numpy as np
    from PIL import Image

    array = np.asarray(values)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    whole = np.issubdtype(array.dtype, np.integer)
    fits = whole and array.size and array.min() >= 0 and array.max() < 1 << 16
    if not fits or array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[-1] not in {3, 4}):
        raise BadValueError(
            f"the mask is an array of {array.dtype} and of shape {array.shape}, not one of whole "
            "numbers 0..65535 (height, width), or of colours (height, width, 3)"
        )
    levels = np.uint16 if array.ndim == 2 and array.max() > 255 else np.uint8
    file = io.BytesIO()
    Image.fromarray(array.astype(levels)).save(file, "PNG")
    return file.getvalue()


def _values_of(source: str | bytes, coloured: bool) -> tuple[Array, bool, Sequence[Code]]:
    """The values of a mask, int32 (h, w), and whether they are colours as one number each; the
    colours of a palette whose numbers the values are.

    Args:
        source: A path or a file's bytes.
        coloured: Read grey levels and palettes by their colours too.

    Raises:
        BadValueError: It cannot be read or is no picture.
    """
    import numpy as np
    from PIL import Image, ImageOps
    from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

    place = f"{source}: " if isinstance(source, str) else ""
    palette: Sequence[Code] = ()
    try:
        if isinstance(source, str) and not Path(source).is_file():
            raise BadValueError(f"{source}: there is no such mask")
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            tags = getattr(image, "tag_v2", {})  # of a TIFF
            inverted = tags.get(PHOTOMETRIC_INTERPRETATION) == _BLACK_IS_HIGHEST
            if inverted and max(tags.get(BITSPERSAMPLE, (1,))) > 1:
                raise BadValueError(
                    f"{place}its black is its highest value (WhiteIsZero), so 0 may be a class or "
                    "white; save it as PNG"
                )
            picture = ImageOps.exif_transpose(image)
            if picture.mode in {"LA", "1"}:
                picture = picture.convert("L")
            if coloured or picture.mode not in {"L", "P", "I", "I;16", "I;16B"}:
                picture = picture.convert("RGB")
            if picture.mode == "P":
                levels = picture.getpalette() or []
                palette = list(zip(levels[::3], levels[1::3], levels[2::3], strict=True))
            values = np.asarray(picture).astype(np.int32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadValueError(f"{place}the mask cannot be read: {error}") from None
    if values.ndim == 2:
        return values, False, palette
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    if not coloured and (red == green).all() and (green == blue).all():
        return red, False, ()
    return red << 16 | green << 8 | blue, True, ()


def check_size(mask: Mask, picture: Any) -> Mask:
    """The mask, where its size is that of its picture.

    Args:
        mask: Of the picture.
        picture: A path, or an array (height, width[, channels]).

    Raises:
        BadValueError: The sizes differ. A picture that cannot be read is left to other checks.
    """
    size = upright_size(picture)
    if size is None or size == mask.size:
        return mask
    sizes = "{} x {}".format(*reversed(mask.size)), "{} x {}".format(*reversed(size))
    turned = (
        ": the picture is turned as its EXIF says, the mask must be too"
        if size == mask.size[::-1] and stored_size(picture) == mask.size
        else ""
    )
    raise BadValueError(f"the mask has {sizes[0]} pixels, its picture {sizes[1]}{turned}")


def upright_size(picture: Any) -> tuple[int, int] | None:
    """Height and width of a picture once it is turned as its EXIF says; None if unreadable."""
    size = stored_size(picture)
    if size is None or not isinstance(picture, str):
        return size
    from PIL import Image

    try:
        with Image.open(picture) as image:
            return size[::-1] if image.getexif().get(_ORIENTATION, 1) >= 5 else size
    except (OSError, SyntaxError, ValueError):
        return size


def stored_size(picture: Any) -> tuple[int, int] | None:
    """Height and width as they are stored; None where that cannot be read."""
    if not isinstance(picture, str):
        return int(picture.shape[0]), int(picture.shape[1])
    from PIL import Image

    try:
        with Image.open(picture) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
