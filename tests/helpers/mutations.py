"""Inputs that nobody meant to give: what is right, with something changed by a seeded draw."""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from random import Random
from typing import Any

# YAML values, for recipes and overrides.
NASTY = (
    *("", "~", "null", "true", "no", "2024-01-01", "2024-13-45", "12:30:45", ".nan", ".inf", "-1"),
    *("0x" + "f" * 5000, "1" * 5000, "1e999", "-.inf", "1_000", "0b1", "0o7", "=", "<<", "NaN"),
    *("[]", "{}", "[[1]]", "{a: [b]}", "[head, [head]]", "{[a]: 1}", "{{a: 1}: 2}", "? [a]\n: b"),
    *("{1: 2}", "{1: 2, '1': 3}", "{~: 1}", "{true: 1}", "{2024-01-01: 1}", "{1.5: {2: 3}}"),
    *("!!int a", "!!int ''", "!!float x", "!!bool maybe", "!!null x", "!!timestamp x", "!!set {a}"),
    *("!!binary x", "!!python/object:os.system x", "!unknown x", "!!omap [a: 1]", "!!str [a]"),
    *("&a [*a]", "&a {b: *a}", "*nothing", "&a x", "<<: x", "{<<: [1]}", "{<<: *a}"),
    *(
        '"\\ud800"',
        '"\\U00110000"',
        '"\\UFFFFFFFF"',
        '"\\0"',
        "\x00",
        "\x07",
        "\t",
        "\ufeff",
        "\x85",
    ),
    *("'", '"', "`", "@", "%", "|", ">", "- -", ": :", "#", "[" * 60, "{a: " * 60, "- " * 60),
    *("{name: x, name: y}", "{name: [x]}", "{layer: 1}", "[{layer: [x]}]", "[{layer: {a: 1}}]"),
    *("[{train: {last: {}}}]", "{last: []}", "{from: 1}", "{fraction: [1]}", "a" * 3000, "\u202e"),
)
BELOW = ("", ".x", ".0", ".0.train", ".layers", ".name", ".gate.examples")
OTHER_VALUES: tuple[Any, ...] = (None, 3, -1, "x", "../x", [], {}, [1], {"a": 1}, 1.5, True)
DEEP = "[" * 100_000 + "]" * 100_000
CELLS = (
    *("", " ", "NA", "null", "nan", "-1", "1e999", "9" * 400, "true", "0", "[]", '{"a": 1}', "a;b"),
    *('"', '""', '"a', 'a"b', "'", "a,b", "a\tb", "a\nb", "a\r", "=1+1", "\\", "#", "|", "\x00"),
    *("\ufeff", "\u2028", "\x85", "\x1a", "\u202eabc", "e\u0301", "\ud800", "\U0001f600", "é" * 9),
    *("x" * 200_000, "text", "label", "../../etc/passwd", "a" * 300 + "/b", "sep=;", "NUL"),
)
JSON_CELLS = (
    *("null", "1", "-1.5", "1e999", "NaN", "true", '""', "[]", "{}", '["a", ["b"]]', '{"a": 1}'),
    *('"\\ud800"', '"\\u0000"', "[" * 3000, "9" * 5000, '"a', "[null]", "1" * 400, '"' + "x" * 999),
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "utf-32", "utf-7", "shift_jis")


def mutated_recipe(text: str, draw: Random) -> bytes:
    """A recipe with a few of its lines, values or characters changed."""
    for _ in range(draw.randint(1, 3)):
        lines = text.split("\n")
        place = draw.randrange(len(lines))
        key, colon, _ = lines[place].partition(":")
        match draw.randrange(6):
            case 0 | 1 | 2:
                lines[place] = f"{key}{colon} {draw.choice(NASTY)}"
            case 3:
                lines[place] = draw.choice(NASTY) + lines[place]
            case 4:
                lines.insert(place, draw.choice(lines))
            case _:
                at = draw.randrange(len(text) + 1)
                text = text[:at] + draw.choice(NASTY)[:9] + text[at + draw.randrange(4) :]
                continue
        text = "\n".join(lines)
    return text.encode("utf-8", "surrogatepass")


def mutated_override(fields: list[str], draw: Random) -> str:
    """`FIELD=VALUE` for one of the fields, or for something below it."""
    return f"{draw.choice(fields)}{draw.choice(BELOW)}={draw.choice(NASTY)}"


def no_json(text: str) -> Iterator[str]:
    """What stands where a JSON object is expected and is none, or an odd one."""
    yield from ("", "[]", "null", '"x"', text[: len(text) // 2], "\0" * len(text), DEEP)
    yield text.replace("{", '{"twice": 1, "twice": 2, ', 1)
    yield text.replace("{", '{"n": NaN, ', 1)


def mutated_json(text: str, draw: Random) -> str:
    """A JSON object with one of its values removed or of another kind."""
    changed = json.loads(text)
    places = list(_places(changed))
    if not places:
        return json.dumps(draw.choice(OTHER_VALUES))
    *path, last = draw.choice(places)
    place = changed
    for key in path:
        place = place[key]
    if draw.random() < 0.3:
        del place[last]
    else:
        place[last] = copy.deepcopy(draw.choice(OTHER_VALUES))
    return json.dumps(changed)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON value, of lists the first two."""
    items = value.items() if isinstance(value, dict) else ()
    items = list(enumerate(value))[:2] if isinstance(value, list) else items
    for key, below in items:
        yield (*path, key)
        yield from _places(below, (*path, key))


def damaged(content: bytes, draw: Random) -> bytes:
    """Bytes that are cut off, or of which some are overwritten, left out or there twice."""
    if draw.random() < 0.5:
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    # Headers are short, and most of what can go wrong is in them.
    end = draw.choice((min(64, len(changed)), len(changed)))
    if draw.random() < 0.2:
        start = draw.randrange(end)
        piece = changed[start : start + draw.randint(1, 64)]
        changed[start : start + draw.choice((0, len(piece)))] = piece * draw.randrange(3)
        return bytes(changed)
    for _ in range(draw.choice((1, 16, 256))):
        changed[draw.randrange(end)] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
    return bytes(changed)


def damaged_zip(content: bytes, draw: Random) -> bytes:
    """A zip archive, in order as such, with one of its files damaged."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice([name for name, held in files.items() if held])
    files[name] = damaged(files[name], draw)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for key, held in files.items():
            archive.writestr(key, held)
    return made.getvalue()


def damaged_picture(content: bytes, draw: Random) -> bytes:
    """An image file damaged; of half of the PNGs in a chunk whose checksum agrees."""
    if not content.startswith(b"\x89PNG") or draw.random() < 0.5:
        return damaged(content, draw)
    chunks = list(_chunks(content))
    at = draw.randrange(len(chunks))
    kind, data = chunks[at]
    if kind == b"IHDR":
        changed = bytearray(data)
        place = draw.randrange(len(data))
        changed[place] = draw.choice((0, 1, 3, 127, 255))
        chunks[at] = kind, bytes(changed)
    elif data:
        chunks[at] = kind, damaged(data, draw)
    else:
        chunks.insert(draw.randrange(len(chunks)), chunks[at])
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += 12 + length


def mutated_table(rows: list[tuple[str, ...]], form: str, draw: Random) -> bytes:
    """A table of which cells, lines, its header, its encoding or its bytes were changed.

    Args:
        rows: The header first.
        form: "csv", "tsv", "jsonl" or "parquet".
        draw: Decides what is changed.
    """
    if form == "parquet":
        return _mutated_parquet(rows, draw)
    lines = _json_lines(rows, draw) if form == "jsonl" else _delimited(rows, form, draw)
    for _ in range(draw.randrange(3)):
        at = draw.randrange(len(lines))
        match draw.randrange(4):
            case 0:
                lines.insert(at, draw.choice(lines))
            case 1:
                lines.insert(at, draw.choice(CELLS))
            case 2:
                cut = draw.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:cut] + draw.choice(CELLS)[:9] + lines[at][cut:]
            case _:
                del lines[at : at + draw.randrange(len(lines))]
                lines = lines or [""]
    text = draw.choice(("\n", "\n", "\n", "\r\n", "\r", "\n\n")).join(lines)
    encoding = draw.choice(("utf-8",) * 12 + ENCODINGS)
    strict = "surrogatepass" if encoding.startswith("utf") and encoding != "utf-7" else "replace"
    content = text.encode(encoding, strict)
    return damaged(content, draw) if content and draw.random() < 0.2 else content


def plain_table(rows: list[tuple[str, ...]], form: str) -> bytes:
    """The table of `mutated_table` with nothing changed."""
    if form == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        columns = [pa.array(list(column)) for column in zip(*rows[1:], strict=True)]
        made = io.BytesIO()
        parquet.write_table(pa.Table.from_arrays(columns, list(rows[0])), made)
        return made.getvalue()
    if form == "jsonl":
        lines = [json.dumps(dict(zip(rows[0], row, strict=True))) for row in rows[1:]]
    else:
        lines = ["\t".join(row) if form == "tsv" else ",".join(row) for row in rows]
    return "\n".join(lines).encode()


def _delimited(rows: list[tuple[str, ...]], form: str, draw: Random) -> list[str]:
    delimiter = draw.choice((*(",\t"[form == "tsv"] * 8), ";", "|", "\t"))
    cells = [list(row) for row in rows]
    for _ in range(draw.randrange(4)):
        row = cells[draw.choice((0, draw.randrange(len(cells))))]
        row[draw.randrange(len(row))] = draw.choice(CELLS)
    return [delimiter.join(row) for row in cells]


def _json_lines(rows: list[tuple[str, ...]], draw: Random) -> list[str]:
    lines = [json.dumps(dict(zip(rows[0], row, strict=True))) for row in rows[1:]]
    for _ in range(draw.randrange(4)):
        at, key = draw.randrange(len(lines)), draw.choice(rows[0])
        lines[at] = f'{{"{rows[0][0]}": "a", "{key}": {draw.choice(JSON_CELLS)}, "more": 1}}'
    return lines


def _mutated_parquet(rows: list[tuple[str, ...]], draw: Random) -> bytes:
    """Columns of other types, names or class names in the schema, or damaged bytes."""
    import pyarrow as pa
    from pyarrow import parquet

    names, count = list(rows[0]), len(rows) - 1
    columns = [pa.array(list(column)) for column in zip(*rows[1:], strict=True)]
    for _ in range(draw.randrange(3)):
        columns[draw.randrange(len(columns))] = draw.choice(_odd_columns(count))
    if draw.random() < 0.2:
        names[draw.randrange(len(names))] = draw.choice(("label", "", "text ", "a\nb", "é"))
    table = pa.Table.from_arrays(columns, names)
    if draw.random() < 0.3:
        feature = draw.choice((
            {"names": ["a", "b"], "_type": "ClassLabel"}, {"names": None, "_type": "ClassLabel"},
            {"names": 3, "_type": "ClassLabel"}, [{"names": [], "_type": "ClassLabel"}], [], None,
        ))  # fmt: skip
        about = json.dumps({"info": {"features": {names[-1]: feature}}})
        about = draw.choice((about, mutated_json(about, draw), "{"))
        table = table.replace_schema_metadata({"huggingface": about})
    made = io.BytesIO()
    parquet.write_table(table, made, compression=draw.choice(("none", "snappy", "zstd")))
    return damaged(made.getvalue(), draw) if draw.random() < 0.5 else made.getvalue()


def _odd_columns(count: int) -> list[Any]:
    """Columns of `count` rows, of types that no text or label has."""
    import pyarrow as pa

    numbers = list(range(count))
    kinds = (
        *(pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.date32(), pa.date64()),
        *(pa.time32("s"), pa.time64("ns"), pa.timestamp("ns"), pa.timestamp("s", "Mars/Base")),
        *(pa.duration("ns"), pa.null()),
    )
    wide = pa.array(numbers, pa.int64())
    made = [pa.nulls(count) if pa.types.is_null(kind) else _cast(wide, kind) for kind in kinds]
    farthest = pa.array([2**62] * count, pa.int64())
    return [
        *made,
        *(_cast(farthest, kind) for kind in (pa.timestamp("ns"), pa.date64(), pa.duration("s"))),
        _cast(pa.array([2**50] * count), pa.timestamp("s")),
        pa.array([float("nan")] * count),
        pa.array([b"\xff\x00"] * count),
        pa.array([[n, None] for n in numbers]),
        pa.array([["a", "b"]] * count),
        pa.array([{"a": n} for n in numbers]),
        pa.array([[(str(n), n)] for n in numbers], pa.map_(pa.string(), pa.int64())),
        pa.array(["a"] * count).dictionary_encode(),
        pa.array([-1, *numbers[1:]]),
        pa.array([True] * count),
        pa.array([str(n) for n in numbers]).cast(pa.large_string()),
        _invalid_strings(count),
    ]


def _cast(numbers: Any, kind: Any) -> Any:
    import pyarrow as pa

    sized = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[kind.bit_width]
    same_bits = pa.types.is_temporal(kind) or pa.types.is_duration(kind)
    return numbers.cast(sized).view(kind) if same_bits else numbers.cast(kind)


def _invalid_strings(count: int) -> Any:
    """Strings that are not UTF-8, which Arrow takes unchecked."""
    import pyarrow as pa

    return pa.array([b"\xff\xfe"] * count, pa.binary()).view(pa.string())


# Requests

BODIES = (
    b'{"instances": ["good", "bad film"]}',
    b'{"inputs": {"texts": ["good"]}, "signature_name": "serving_default"}',
    b'{"instances": [{"texts": {"b64": "Z29vZA=="}}]}',
    b'{"signature_name": "model", "inputs": {"token_ids": [[2, 5, 3]], '
    b'"padding_mask": [[1, 1, 1]], "segment_ids": [[0, 0, 0]]}}',
    b'{"signature_name": "model", "instances": [{"token_ids": [2, 3], '
    b'"padding_mask": [1, 1], "segment_ids": [0, 0]}]}',
)
# fmt: off
PIECES = (
    b"NaN", b"-Infinity", b"1e999", b"-1", b"2147483648", b"99999999999999999999", b"null", b"true",
    b'""', b"[]", b"{}", b"[" * 900, b"[" * 90_000, b'"\\ud800"', b"\xff\xfe",
    b"\x00", b"\xef\xbb\xbf",
    b'{"b64": "a"}', b'{"b64": 1}', b'"instances": 1,', b'"signature_name": "\\ud800",', b"0.5",
    b'"' + b"x" * 3000 + b'"', b'"\xe2\x80\xa8"', b"\r\n\r\n", b"HTTP/1.1",
    b"Content-Length: 7\r\n",
)
# fmt: on


def post(body: bytes, *headers: str) -> bytes:
    """A request for predictions of the model "tiny", with the right length unless one is given."""
    lines = ["POST /v1/models/tiny:predict HTTP/1.1", "Host: x", "Connection: close", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encod")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def mutated_request(draw: Random) -> bytes:
    """A request of which something was changed, in its body, or anywhere."""
    request = post(draw.choice(BODIES))
    _, _, body = request.partition(b"\r\n\r\n")
    whole = draw.random() < 0.3
    content = bytearray(request if whole else body)
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(content) + 1)
        stop = start + draw.choice((0, 0, 1, draw.randint(0, 20)))
        content[start:stop] = draw.choice((
            draw.choice(PIECES), draw.randbytes(draw.randint(0, 6)), content[start:stop] * 3,
        ))  # fmt: skip
    return bytes(content) if whole else post(bytes(content))
