"""What langneurons knows about a language: its names, its script and its code in NLLB-200.

A language is named everywhere by its ISO 639-1 code. Codes that are not in the table work as well;
they are then shown by their code and have no script or NLLB code.
"""

from typing import NamedTuple

ENGLISH = "en"
"""Code of the language that others are held against."""


class Language(NamedTuple):
    """One language.

    Attributes:
        code: ISO 639-1 code, `zh`.
        name: its name in English.
        endonym: its name in itself.
        script: ISO 15924 code of the script it is mostly written in (`Hans`), or None where not
            known.
        nllb: its code in NLLB-200 (`zho_Hans`), or None where not known.
    """

    code: str
    name: str
    endonym: str
    script: str | None
    nllb: str | None


_TABLE = """
af|Afrikaans|Afrikaans|Latn|afr
ar|Arabic|العربية|Arab|arb
bg|Bulgarian|български|Cyrl|bul
bn|Bengali|বাংলা|Beng|ben
bo|Tibetan|བོད་སྐད་|Tibt|bod
ca|Catalan|català|Latn|cat
cs|Czech|čeština|Latn|ces
da|Danish|dansk|Latn|dan
de|German|Deutsch|Latn|deu
el|Greek|Ελληνικά|Grek|ell
en|English|English|Latn|eng
es|Spanish|español|Latn|spa
et|Estonian|eesti|Latn|est
eu|Basque|euskara|Latn|eus
fa|Persian|فارسی|Arab|pes
fi|Finnish|suomi|Latn|fin
fr|French|français|Latn|fra
ha|Hausa|Hausa|Latn|hau
he|Hebrew|עברית|Hebr|heb
hi|Hindi|हिन्दी|Deva|hin
hu|Hungarian|magyar|Latn|hun
id|Indonesian|Bahasa Indonesia|Latn|ind
ig|Igbo|Igbo|Latn|ibo
it|Italian|italiano|Latn|ita
ja|Japanese|日本語|Jpan|jpn
ko|Korean|한국어|Hang|kor
lt|Lithuanian|lietuvių|Latn|lit
mr|Marathi|मराठी|Deva|mar
ms|Malay|Bahasa Melayu|Latn|zsm
mt|Maltese|Malti|Latn|mlt
nl|Dutch|Nederlands|Latn|nld
no|Norwegian|norsk|Latn|nob
pl|Polish|polski|Latn|pol
pt|Portuguese|português|Latn|por
ro|Romanian|română|Latn|ron
ru|Russian|русский|Cyrl|rus
sv|Swedish|svenska|Latn|swe
sw|Swahili|Kiswahili|Latn|swh
ta|Tamil|தமிழ்|Taml|tam
te|Telugu|తెలుగు|Telu|tel
th|Thai|ไทย|Thai|tha
tr|Turkish|Türkçe|Latn|tur
uk|Ukrainian|українська|Cyrl|ukr
ur|Urdu|اردو|Arab|urd
vi|Vietnamese|Tiếng Việt|Latn|vie
yo|Yoruba|Yorùbá|Latn|yor
zh|Chinese|中文|Hans|zho
zu|Zulu|isiZulu|Latn|zul
"""


def _parse(row: str) -> Language:
    code, name, endonym, script, nllb = row.split("|")
    return Language(code, name=name, endonym=endonym, script=script, nllb=f"{nllb}_{script}")


LANGUAGES = {language.code: language for language in map(_parse, _TABLE.split("\n")[1:-1])}
"""Every language in the table, by code."""


def language(code: str) -> Language:
    """What is known about the language `code`; outside the table its code is its name."""
    return LANGUAGES.get(code) or Language(code, name=code, endonym=code, script=None, nllb=None)
