"""Texts on which tokenizers go wrong: accents, CJK, emoji, Arabic, controls, long words."""

ODD_TEXTS = (
    *("", " ", "\n\t\r ", "a", "Hello, World!", "HELLO WORLD", "don't can't won't", "e-mail"),
    *("unaffable", "supercalifragilisticexpialidocious", "x" * 100, "x" * 101, "ab" * 60),
    *("word " * 3000, "a" * 10_000, "aé" * 5_000, "!" * 300, "3.14159", "1,000,000.00"),
    *("$5.00+tax=<b>", "a~b`c^d|e", "C:\\path\\file_name.txt", "user@example.com #tag", "##ing ##"),
    *("naïve café résumé", "ÀÉÎÕÜ àéîõü", "e\u0301a\u0308", "Ångström Ǻ ǻ", "İstanbul ılık I"),
    *("ΣΑΣ ΌΔΟΣ ἄνθρωπος", "ẞ straße", "Привет, мир! Ёлка й", "ﬁ ﬂ ½ ² ™ №", "Ⅷ ⅷ Ａｂｃ！"),
    *("العربية نصٌّ", "שָׁלוֹם עולם", "हिन्दी में पाठ", "ภาษาไทย", "Tiếng Việt ắ", "ქართული ՀԱՅ"),
    *(
        "한국어 텍스트",
        "각 \u1100\u1161\u11a8",
        "日本語のテキスト、漢字。",
        "中文和English混合",
        "豈 更 車",
        "𠀀𪜀",
    ),
    *(
        "😀😃 emoji 👩‍👩‍👧 👍🏽 🇩🇪",
        "❤️ ☺ ★",
        "a\u200bb\u200dc\ufeffd\u2060e",
        "a\u00adb",
        "\u202etxt\u202c",
    ),
    *("a\x00b", "a\x01\x02b\x7fc", "a\x0bb\x0cc\x1cd\x85e", "a\u00a0b\u2003c\u3000d\u2028e\u2029f"),
    *(
        "a\ufffdb",
        "\ue000x\U000f0000y",
        "‘quotes’ “double” «g» —–…",
        "¿Qué? ¡Sí!",
        "；：？",
        "\u037e \u2260 ≮",
    ),
    *("!a", "a!", "!", "a  b", " a ", "tab\tnew\nline", "x" * 99 + "é", "é" * 100, "é" * 101),
)
