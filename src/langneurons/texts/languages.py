"""What langneurons knows about a language by its code: name, script, decimal mark, NLLB-200's code.

A code may be of ISO 639-1 (`de`), ISO 639-3 (`deu`), BCP 47 (`de-DE`, `zh-Hant`), a locale
(`pt_BR`), FLORES-200 and NLLB-200 (`deu_Latn`), or the language's English name (`German`). All mean
what they say; results keep the code as it was written. What is known comes from Unicode's CLDR, by
the library babel. A code that is not known works as well where nothing needs to be known of it.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Literal, NamedTuple

from langneurons.errors import InputError

ENGLISH = "en"
"""Code of the language that others are held against."""


class Language(NamedTuple):
    """One language.

    Attributes:
        code: as it was written.
        name: in English; the code itself where it is not known.
        tag: its code in BCP 47, the shortest that says the same: `zh` for `zho_Hans`, `pt` for
            `pt-BR`, `zh-Hant` for `zh-TW`; None where the code is not known.
        script: ISO 15924 code of the script it is mostly written in (`Hans`); None where not known,
            and where there are two and the code does not say which (Serbian).
        comma: whether it writes a decimal comma.
        nllb: its code in NLLB-200 (`zho_Hans`), or None where it has none.
    """

    code: str
    name: str
    tag: str | None
    script: str | None
    comma: bool
    nllb: str | None

    @property
    def iso(self) -> str | None:
        """The language alone, without script or region: ISO 639-1, or 639-3 where it has none."""
        return self.tag and self.tag.partition("-")[0]


class _Tag(NamedTuple):
    """The parts of a code."""

    language: str
    script: str | None = None
    region: str | None = None


_TAG = re.compile(
    r"""
    (?P<language>[A-Za-z]{2,3})
    (?:[-_](?P<extended>[A-Za-z]{3}))?
    (?:[-_](?P<script>[A-Za-z]{4}))?
    (?:[-_](?P<region>[A-Za-z]{2}|\d{3}))?
    (?:[-_](?:[A-Za-z0-9]{5,8}|\d[A-Za-z0-9]{3}))*  # variants: de-1996
    (?:[-_][A-Za-z0-9](?:[-_][A-Za-z0-9]{2,8})+)*  # extensions: ar-u-nu-latn
    (?:\.[-\w]+)? (?:@\w+)?  # of a locale: de_DE.UTF-8
    """,
    re.VERBOSE,
)

_NO_LANGUAGE = ("mis", "mul", "root", "und", "zxx")

_NAMES = {
    "acm": "Mesopotamian Arabic",
    "acq": "Ta'izzi-Adeni Arabic",
    "ajp": "South Levantine Arabic",
    "apc": "North Levantine Arabic",
    "azb": "South Azerbaijani",
    "bn": "Bengali",
    "cjk": "Chokwe",
    "fuv": "Nigerian Fulfulde",
    "hne": "Chhattisgarhi",
    "kbp": "Kabiyè",
    "no": "Norwegian",
    "pbt": "Southern Pashto",
    "prs": "Dari",
    "quy": "Ayacucho Quechua",
    "taq": "Tamasheq",
    "twi": "Twi",
}
"""English names of NLLB-200's languages that CLDR has none of, and those we say otherwise."""

_SCRIPTS = {"ajp": "Arab", "ko": "Hang", "prs": "Arab", "twi": "Latn"}
"""Scripts that CLDR does not give, and Korean's, for which it gives Hangul with Chinese."""

_WRITTEN = {("zh", "Hans"): "Simplified Chinese", ("zh", "Hant"): "Traditional Chinese"}
"""What a language in one of its scripts is called, where that is not `Serbian in Latin script`."""

_COUNTRIES = {"cn": "zh", "cz": "cs", "dk": "da", "gr": "el", "jp": "ja", "ua": "uk", "vn": "vi"}
"""Codes of countries that people write for their language, and no language has."""

_TWO_SCRIPTS = ("az", "bs", "ku", "sr", "uz")
"""Languages that are written in two scripts."""

_NLLB = """
ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn als_Latn amh_Ethi apc_Arab
arb_Arab arb_Latn ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn
bak_Cyrl bam_Latn ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn
bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn
dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn fij_Latn
fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gaz_Latn gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr
hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn
isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor
kaz_Cyrl kbp_Latn kea_Latn khk_Cyrl khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kmr_Latn knc_Arab
knc_Latn kon_Latn kor_Hang lao_Laoo lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn
lua_Latn lug_Latn luo_Latn lus_Latn lvs_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Arab min_Latn
mkd_Cyrl mlt_Latn mni_Beng mos_Latn mri_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn
nus_Latn nya_Latn oci_Latn ory_Orya pag_Latn pan_Guru pap_Latn pbt_Arab pes_Arab plt_Latn pol_Latn
por_Latn prs_Arab quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng sat_Olck scn_Latn
shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srd_Latn
srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn szl_Latn tam_Taml taq_Latn taq_Tfng tat_Cyrl tel_Telu
tgk_Cyrl tgl_Latn tha_Thai tir_Ethi tpi_Latn tsn_Latn tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn
tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn xho_Latn
ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zsm_Latn zul_Latn
"""


@cache
def language(code: str) -> Language:
    """What is known about the language `code`."""
    tag = _parsed(code)
    if tag is None:
        return Language(code, name=code, tag=None, script=None, comma=False, nllb=None)
    script = _script(tag)
    either = tag.language in _TWO_SCRIPTS and not (tag.script or tag.region)
    return Language(
        code,
        name=_name(tag),
        tag="-".join(filter(None, _shortest(tag))),
        script=None if either else script,
        comma=_comma(tag),
        nllb=_nllb_codes().get((tag.language, script)),
    )


def known(code: str) -> bool:
    """Whether `code` names a language."""
    return language(code).tag is not None


def strangers(codes: Iterable[str]) -> str | None:
    """What to say of the codes that are not known; None where all are."""
    if unknown := [code for code in dict.fromkeys(codes) if not known(code)]:
        return (
            f"no language is known by the code {', '.join(unknown)}: whether a response is in the "
            "wrong script cannot be told, and numbers are read as 1,234.5"
        )
    return None


def told_apart(codes: Iterable[str]) -> dict[str, str]:
    """English names by code, for a table or a chart; with its code where two have the same name."""
    names = {code: language(code).name for code in codes}
    often = Counter(names.values())
    return {
        code: f"{name} ({code})" if often[name] > 1 and name != code else name
        for code, name in names.items()
    }


def named(code: str) -> str:
    """The English name of a language that a model is to be told of.

    Raises:
        InputError: where the code names none: no model knows what is meant by it.
    """
    if not known(code):
        raise InputError(
            f"{code!r} is no code of a language, so a prompt cannot name it; use one of ISO 639 "
            "or BCP 47 (zh, zho, zh-Hant, zho_Hans), or a template without {language}"
        )
    return language(code).name


def same(one: str, other: str) -> bool:
    """Whether two codes mean one language in one script, wherever it is spoken: `de`, `deu_Latn`.

    Codes that are not known are compared as they are.
    """
    return one == other or _identity(one) == _identity(other)


def is_english(code: str) -> bool:
    """Whether a code means English, in any region."""
    return same(code, ENGLISH)


def english_among(codes: Iterable[str]) -> str | None:
    """The first code of English; None without."""
    return next((code for code in codes if is_english(code)), None)


def _identity(code: str) -> tuple[str | None, ...]:
    tag = _parsed(code)
    return (code,) if tag is None else (tag.language, _script(tag))


@cache
def _parsed(code: str) -> _Tag | None:
    """The parts of a code, as CLDR writes them; None where it names no language.

    Old and longer codes of a language become the one in use: `iw` is `he`, `cmn` and `zho` are
    `zh`. Some codes of countries, that no language has, are often written for their language.
    """
    match = _TAG.fullmatch(code.strip())
    if match is None:
        return _by_name().get(code.strip().casefold())
    language = (match["extended"] or match["language"]).lower()
    script = match["script"] and match["script"].title()
    region = match["region"] and match["region"].upper()
    if region == "XX":  # mBART-50 writes en_XX
        region = None
    if language not in _NAMES:
        language, script, region = _in_use(_Tag(language, script, region))
    language = _COUNTRIES.get(language, language)
    locale = _english()
    if (
        language in _names()
        and (script is None or script in locale.scripts)
        and (region is None or region in locale.territories)
    ):
        return _Tag(language, script, region)
    return _by_name().get(code.strip().casefold())


def _in_use(tag: _Tag) -> _Tag:
    """The code with the language's own code in use today."""
    alias = _cldr("language_aliases").get(tag.language)
    if alias is None:
        return tag
    language, *rest = alias.split("_")
    script = next((part for part in rest if len(part) == 4), None)
    region = next((part for part in rest if len(part) < 4), None)
    return _Tag(language, tag.script or script, tag.region or region)


def _likely(tag: _Tag) -> _Tag:
    """The code with the script and region that are meant where it does not say."""
    if tag.language in _SCRIPTS:
        return tag._replace(script=tag.script or _SCRIPTS[tag.language])
    likely = _cldr("likely_subtags")
    for parts in (tag, (tag.language, tag.region), (tag.language, tag.script), (tag.language,)):
        if full := likely.get("_".join(filter(None, parts))):
            _, script, region = full.split("_")
            return _Tag(tag.language, tag.script or script, tag.region or region)
    return tag


def _script(tag: _Tag) -> str | None:
    return _likely(tag).script


def _shortest(tag: _Tag) -> _Tag:
    """The code without the script and region that are meant anyway."""
    full = _likely(tag)
    for shorter in (
        _Tag(tag.language),
        _Tag(tag.language, region=tag.region),
        _Tag(tag.language, tag.script),
    ):
        if _likely(shorter) == full:
            if shorter.region and full.script != _likely(_Tag(tag.language)).script:
                return _Tag(tag.language, full.script)  # zh-Hant for zh-TW
            return shorter
    return tag


def _name(tag: _Tag) -> str:
    """The English name, with script or region where they are not those that are meant anyway."""
    names, short = _names(), _shortest(tag)
    name = names[tag.language]
    if short.script:
        script = _english().scripts.get(short.script, short.script)
        return _WRITTEN.get((tag.language, short.script)) or f"{name} in {script} script"
    return names.get(f"{tag.language}_{short.region}", name)


def _comma(tag: _Tag) -> bool:
    """Whether a language writes a decimal comma with the digits 0 to 9, in its region if given."""
    from babel.core import Locale, UnknownLocaleError

    full = _likely(tag)
    for parts in (tag, (full.language, full.region), (tag.language,)):
        try:
            symbols = Locale.parse("_".join(filter(None, parts))).number_symbols
        except (UnknownLocaleError, ValueError):
            continue
        return symbols.get("latn", {}).get("decimal") == ","
    return False


@cache
def _nllb_codes() -> dict[tuple[str | None, ...], str]:
    """NLLB-200's codes by language and script."""
    codes = {_identity(code): code for code in _NLLB.split()}
    return codes | {("no", "Latn"): "nob_Latn"}


@cache
def _names() -> dict[str, str]:
    """English names by code."""
    names = {**_english().languages, **_NAMES}
    return {code: name for code, name in names.items() if code not in _NO_LANGUAGE}


@cache
def _by_name() -> dict[str, _Tag]:
    """Languages by their English name in small letters."""
    return {
        name.casefold(): _Tag(code)
        for code, name in (*_english().languages.items(), *_NAMES.items())
        if "_" not in code and code not in _NO_LANGUAGE
    }


@cache
def _english():  # of babel, which is imported where it is needed
    from babel.core import Locale

    return Locale("en")


@cache
def _cldr(table: 'Literal["language_aliases", "likely_subtags"]') -> dict[str, str]:
    from babel.core import get_global

    return dict(get_global(table))
