"""Answers: the last number of a text, in every way a number is written."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.texts import answer_words
from langneurons.texts.answers import is_correct, last_number, readings
from support.places import data

HARD = [
    # text, language, what the last number means
    ("The answer is 18.", "en", (18,)),
    ("= 9 * $2 = $18", "en", (18,)),
    ("#### 72", "en", (72,)),
    ("", "en", ()),
    ("no number at all", "en", ()),
    # digits of other scripts
    ("উত্তর হল ১৮।", "bn", (18,)),
    ("উত্তর: ১,২৩,৪৫৬.৫০", "bn", (123456.5,)),
    ("คำตอบคือ ๑๘", "th", (18,)),
    ("คำตอบคือ ๑,๐๐๐.๕ บาท", "th", (1000.5,)),
    ("الجواب هو ١٨", "ar", (18,)),
    ("الجواب ١٬٢٣٤٫٥", "ar", (1234.5,)),
    ("پاسخ ۱۸ است", "fa", (18,)),
    ("उत्तर १,००,००० है", "hi", (100000,)),
    ("答えは１８です。", "ja", (18,)),
    ("答えは１，２３４．５です", "ja", (1234.5,)),
    ("答案是18。", "zh", (18,)),
    ("有3，5，7个", "zh", (7,)),
    ("العددان ٣، ٥", "ar", (5,)),
    ("𝟏𝟖", "en", (18,)),
    # groups and decimal marks
    ("70,000", "en", (70000,)),
    ("1,234,567.89", "en", (1234567.89,)),
    ("12,5", "en", (5,)),
    ("1.234", "en", (1.234,)),
    (".5 of it", "en", (0.5,)),
    ("70.000 Euro", "de", (70000,)),
    ("1.234.567,89", "de", (1234567.89,)),
    ("Es sind 12,5", "de", (12.5,)),
    ("12.50 $", "de", (12.5,)),
    ("0.125", "de", (0.125,)),
    ("8,000 Dollar", "de", (8000,)),
    ("1,234,567", "de", (1234567,)),
    ("1,234.5", "de", (1234.5,)),
    ("57 500 $", "fr", (57500,)),
    ("57\u00a0500,25 $", "fr", (57500.25,)),
    ("57\u202f500 $", "en", (57500,)),
    ("en 2023 100 personnes", "fr", (100,)),
    ("12 5", "fr", (5,)),
    ("1.234", "de", (1234,)),
    ("12,345", "de", (12.345,)),
    ("১২,৩৪৫", "bn", (12345,)),
    ("1\u2009234\u2009567", "en", (1234567,)),
    ("1\u2007234", "en", (1234,)),
    ("18.00", "en", (18,)),
    ("18.", "en", (18,)),
    ("80 000 рублей", "ru", (80000,)),
    ("80 000 people", "en", (80000,)),
    ("1.2345", "es", (1.2345,)),
    ("10000000", "es", (10000000,)),
    ("70.000", "xx", (70,)),
    # signs
    ("The answer is -5", "en", (-5,)),
    ("= −10.000 $", "de", (-10000,)),
    ("= –10 000", "ru", (-10000,)),
    ("-$7.50", "en", (-7.5,)),
    ("答案是-5", "zh", (-5,)),
    ("উত্তর -৫", "bn", (-5,)),
    ("คำตอบคือ -๕", "th", (-5,)),
    ("الجواب \u200f-١٨", "ar", (-18,)),
    ("答えは－５です", "ja", (-5,)),
    ("$-5", "en", (-5,)),
    ("x=-5", "en", (-5,)),
    (r"\boxed{-3}", "en", (-3,)),
    ("16-3", "en", (3,)),
    ("16 - 3", "en", (3,)),
    ("(2+1)-3", "en", (3,)),
    ("COVID-19", "en", (19,)),
    ("10–15", "en", (15,)),
    ("5%-3", "en", (3,)),
    # fractions
    ("3/4", "en", (0.75,)),
    ("1 3/4 cups", "en", (1.75,)),
    ("-1/2", "en", (-0.5,)),
    ("৩/৪", "bn", (0.75,)),
    ("คำตอบคือ ๑ ๑/๒", "th", (1.5,)),
    ("٣/٤", "ar", (0.75,)),
    ("３／４", "zh", (0.75,)),
    ("½", "en", (0.5,)),
    ("−½", "en", (-0.5,)),
    ("৩½", "bn", (3.5,)),
    ("3 ½", "en", (3.5,)),
    ("3\u00a01/2", "fr", (3.5,)),
    ("3½ Stunden", "de", (3.5,)),
    (r"\frac{3}{4}", "en", (0.75,)),
    ("5/6/2023", "en", (2023,)),
    ("12/4 = 3", "en", (3,)),
    ("7/0", "en", (0,)),
    ("1.500/2", "de", (750,)),
    # percentages
    ("25%", "en", (25, 0.25)),
    ("12,5 %", "de", (12.5, 0.125)),
    ("-12,5 %", "fr", (-12.5, -0.125)),
    ("๒๕%", "th", (25, 0.25)),
    ("２５％", "ja", (25, 0.25)),
    ("1/2%", "en", (0.5, 0.005)),
    ("২৫%", "bn", (25, 0.25)),
    ("٢٥٪", "ar", (25, 0.25)),
    (r"25\%", "en", (25, 0.25)),
    # LaTeX
    (r"\boxed{1{,}234}", "en", (1234,)),
    (r"\boxed{3 000}", "en", (3000,)),
    (r"\fbox{12 345} of 3", "en", (12345,)),
    (r"0.\overline{3}", "en", (1 / 3,)),
    (r"2,1\overline{6}", "de", (13 / 6,)),
    ("12 000 km", "en", (12000,)),
    ("1 050 300 people", "en", (1050300,)),
    ("in 2019 300 people", "en", (300,)),
    ("5 100 m", "en", (100,)),
    (r"$12\,000$", "en", (12000,)),
]


@pytest.mark.parametrize(
    ("text", "lang", "values"), HARD, ids=[f"{lang} {text}" for text, lang, _ in HARD]
)
def test_a_number_is_read_as_the_language_writes_it(
    text: str, lang: str, values: tuple[float, ...]
) -> None:
    assert readings(text, lang) == pytest.approx(values)


# In every language: how it says `the answer is`, twelve thousand and a half as it writes it, and
# how a number with its digits comes after it that is none.
IN_EVERY_LANGUAGE = [
    ("af", "Die antwoord is 12 345,5 (nie 7 nie).", "12 345,5"),
    ("am", "መልሱ 12,345.5 ነው። (7 አይደለም)", "12,345.5"),
    ("ar", "الجواب هو ١٢٬٣٤٥٫٥ (وليس ٧)", "١٢٬٣٤٥٫٥"),
    ("az", "Cavab: 12.345,5 (7 deyil)", "12.345,5"),
    ("be", "Адказ: 12 345,5 (а не 7).", "12 345,5"),
    ("bg", "Отговорът е 12 345,5 (а не 7).", "12 345,5"),
    ("bn", "উত্তর হল ১২,৩৪৫.৫ (৭ নয়)।", "১২,৩৪৫.৫"),
    ("bo", "ལན་ནི་ ༡༢,༣༤༥.༥ (༧)", "༡༢,༣༤༥.༥"),
    ("bs", "Odgovor je 12.345,5 (a ne 7).", "12.345,5"),
    ("ca", "La resposta és 12.345,5 (no 7).", "12.345,5"),
    ("cs", "Odpověď je 12 345,5 (ne 7).", "12 345,5"),
    ("cy", "Yr ateb yw 12,345.5 (nid 7).", "12,345.5"),
    ("da", "Svaret er 12.345,5 (ikke 7).", "12.345,5"),
    ("de", "Die Antwort lautet 12.345,5 (nicht 7).", "12.345,5"),
    ("el", "Η απάντηση είναι 12.345,5 (όχι 7).", "12.345,5"),
    ("en", "The answer is 12,345.5 (not 7).", "12,345.5"),
    ("eo", "La respondo estas 12 345,5 (ne 7).", "12 345,5"),
    ("es", "La respuesta es 12.345,5 (no 7).", "12.345,5"),
    ("et", "Vastus on 12 345,5 (mitte 7).", "12 345,5"),
    ("eu", "Erantzuna 12.345,5 da (ez 7).", "12.345,5"),
    ("fa", "پاسخ ۱۲٬۳۴۵٫۵ است (نه ۷)", "۱۲٬۳۴۵٫۵"),
    ("fi", "Vastaus on 12 345,5 (ei 7).", "12 345,5"),
    ("fil", "Ang sagot ay 12,345.5 (hindi 7).", "12,345.5"),
    ("fr", "La réponse est 12 345,5 (et non 7).", "12 345,5"),
    ("ga", "Is é an freagra ná 12,345.5 (ní 7).", "12,345.5"),
    ("gl", "A resposta é 12.345,5 (non 7).", "12.345,5"),
    ("gu", "જવાબ ૧૨,૩૪૫.૫ છે (૭ નહીં)", "૧૨,૩૪૫.૫"),
    ("ha", "Amsar ita ce 12,345.5 (ba 7 ba).", "12,345.5"),
    ("he", "התשובה היא 12,345.5 (לא 7).", "12,345.5"),
    ("hi", "उत्तर 12,345.5 है (7 नहीं)।", "12,345.5"),
    ("hr", "Odgovor je 12.345,5 (a ne 7).", "12.345,5"),
    ("hu", "A válasz: 12 345,5 (nem 7).", "12 345,5"),
    ("hy", "Պատասխանը՝ 12 345,5 (ոչ թե 7)", "12 345,5"),
    ("id", "Jawabannya adalah 12.345,5 (bukan 7).", "12.345,5"),
    ("ig", "Azịza bụ 12,345.5 (ọ bụghị 7).", "12,345.5"),
    ("is", "Svarið er 12.345,5 (ekki 7).", "12.345,5"),
    ("it", "La risposta è 12.345,5 (non 7).", "12.345,5"),
    ("ja", "答えは１２，３４５．５です（7ではない）。", "１２，３４５．５"),
    ("ka", "პასუხია 12 345,5 (და არა 7).", "12 345,5"),
    ("kk", "Жауабы: 12 345,5 (7 емес).", "12 345,5"),
    ("km", "ចម្លើយគឺ 12,345.5 (មិនមែន 7)", "12,345.5"),
    ("kn", "ಉತ್ತರ: 12,345.5 (7 ಅಲ್ಲ)", "12,345.5"),
    ("ko", "정답은 12,345.5입니다 (7이 아님).", "12,345.5"),
    ("ky", "Жооп: 12 345,5 (7 эмес).", "12 345,5"),
    ("lo", "ຄຳຕອບແມ່ນ 12.345,5 (ບໍ່ແມ່ນ 7)", "12.345,5"),
    ("lt", "Atsakymas yra 12 345,5 (ne 7).", "12 345,5"),
    ("lv", "Atbilde ir 12 345,5 (nevis 7).", "12 345,5"),
    ("mk", "Одговорот е 12.345,5 (а не 7).", "12.345,5"),
    ("ml", "ഉത്തരം 12,345.5 ആണ് (7 അല്ല)", "12,345.5"),
    ("mn", "Хариулт нь 12,345.5 (7 биш).", "12,345.5"),
    ("mr", "उत्तर १२,३४५.५ आहे (७ नाही)", "१२,३४५.५"),
    ("ms", "Jawapannya ialah 12,345.5 (bukan 7).", "12,345.5"),
    ("mt", "It-tweġiba hija 12,345.5 (mhux 7).", "12,345.5"),
    ("my", "အဖြေမှာ ၁၂,၃၄၅.၅ (၇ မဟုတ်)", "၁၂,၃၄၅.၅"),
    ("nb", "Svaret er 12 345,5 (ikke 7).", "12 345,5"),
    ("ne", "उत्तर १२,३४५.५ हो (७ होइन)", "१२,३४५.५"),
    ("nl", "Het antwoord is 12.345,5 (niet 7).", "12.345,5"),
    ("nn", "Svaret er 12 345,5 (ikkje 7).", "12 345,5"),
    ("no", "Svaret er 12 345,5 (ikke 7).", "12 345,5"),
    ("pa", "ਜਵਾਬ 12,345.5 ਹੈ (7 ਨਹੀਂ)", "12,345.5"),
    ("pl", "Odpowiedź to 12 345,5 (a nie 7).", "12 345,5"),
    ("pt", "A resposta é 12.345,5 (e não 7).", "12.345,5"),
    ("ro", "Răspunsul este 12.345,5 (nu 7).", "12.345,5"),
    ("ru", "Ответ: 12 345,5 (а не 7).", "12 345,5"),
    ("si", "පිළිතුර 12,345.5 (7 නොවේ)", "12,345.5"),
    ("sk", "Odpoveď je 12 345,5 (nie 7).", "12 345,5"),
    ("sl", "Odgovor je 12.345,5 (ne 7).", "12.345,5"),
    ("so", "Jawaabtu waa 12,345.5 (maaha 7).", "12,345.5"),
    ("sq", "Përgjigjja është 12 345,5 (jo 7).", "12 345,5"),
    ("sr", "Одговор је 12.345,5 (а не 7).", "12.345,5"),
    ("sv", "Svaret är 12 345,5 (inte 7).", "12 345,5"),
    ("sw", "Jibu ni 12,345.5 (si 7).", "12,345.5"),
    ("ta", "பதில் 12,345.5 (7 அல்ல)", "12,345.5"),
    ("te", "సమాధానం 12,345.5 (7 కాదు)", "12,345.5"),
    ("tg", "Ҷавоб: 12 345,5 (на 7).", "12 345,5"),
    ("th", "คำตอบคือ ๑๒,๓๔๕.๕ (ไม่ใช่ ๗)", "๑๒,๓๔๕.๕"),
    ("tr", "Cevap 12.345,5'tir (7 değil).", "12.345,5"),
    ("uk", "Відповідь: 12 345,5 (а не 7).", "12 345,5"),
    ("ur", "جواب 12,345.5 ہے (7 نہیں)", "12,345.5"),
    ("uz", "Javob: 12 345,5 (7 emas).", "12 345,5"),
    ("vi", "Đáp số là 12.345,5 (không phải 7).", "12.345,5"),
    ("xh", "Impendulo ngu 12\u00a0345.5 (hayi 7).", "12\u00a0345.5"),
    ("yo", "Ìdáhùn ni 12,345.5 (kì í ṣe 7).", "12,345.5"),
    ("zh", "答案是12,345.5（不是7）。", "12,345.5"),
    ("zu", "Impendulo ithi 12,345.5 (hhayi 7).", "12,345.5"),
]


@pytest.mark.parametrize(
    ("lang", "sentence", "number"), IN_EVERY_LANGUAGE, ids=[row[0] for row in IN_EVERY_LANGUAGE]
)
def test_the_answer_in_every_language(lang: str, sentence: str, number: str) -> None:
    assert readings(sentence, lang) == (12345.5,)
    assert readings(f"2 + 3 = {number}.", lang, marked=False) == (12345.5,)
    assert readings(sentence, lang, marked=False) == (7,)
    assert is_correct(number, number, lang)
    assert is_correct("12345.5", number, lang)


def test_no_language_is_left_out() -> None:
    assert [row[0] for row in IN_EVERY_LANGUAGE] == list(answer_words.LANGUAGES)


WRITTEN = [
    # LaTeX
    (r"1\frac{3}{4}", "en", (1.75,)),
    (r"2 \dfrac{1}{2}", "en", (2.5,)),
    (r"2\,\tfrac12", "en", (2.5,)),
    (r"\frac34", "en", (0.75,)),
    (r"\frac{3}4", "en", (0.75,)),
    (r"\frac 3 4", "en", (0.75,)),
    (r"-\cfrac{1}{2}", "en", (-0.5,)),
    (r"-1\frac{1}{2}", "en", (-1.5,)),
    (r"\frac{-1}{2}", "en", (-0.5,)),
    (r"\frac{1{,}500}{2}", "en", (750,)),
    (r"\frac{1,5}{2}", "de", (0.75,)),
    (r"{3 \over 4}", "en", (0.75,)),
    (r"\boxed{\frac{3}{4}}", "en", (0.75,)),
    (r"\frac{1}{4}\%", "en", (0.25, 0.0025)),
    (r"1\ 234", "en", (1234,)),
    ("1~234", "en", (1234,)),
    ("100~200", "ko", (200,)),
    (r"1\,234\,567.5", "en", (1234567.5,)),
    (r"1\;234", "de", (1234,)),
    (r"1{\,}234", "en", (1234,)),
    (r"1,\!234", "en", (1234,)),
    (r"1\thinspace 234", "fr", (1234,)),
    (r"12{,}5", "de", (12.5,)),
    (r"\$1{,}234", "en", (1234,)),
    ("1\u200a234", "en", (1234,)),
    ("1\u2008234", "ru", (1234,)),
    # powers of ten
    (r"2.5 \times 10^3", "en", (2500,)),
    (r"2,5 \cdot 10^{3}", "de", (2500,)),
    ("2.5 × 10³", "en", (2500,)),
    ("2,5 · 10⁻³", "de", (0.0025,)),
    ("2.5 x 10^3", "en", (2500,)),
    ("2.5*10**3", "en", (2500,)),
    ("2.5e3", "en", (2500,)),
    ("2,5E-3", "de", (0.0025,)),
    ("10^6", "en", (1e6,)),
    ("-3 × 10^2", "en", (-300,)),
    ("২.৫ × ১০^৩", "bn", (2500,)),
    ("2^5", "en", (32,)),
    ("5²", "en", (25,)),
    ("9^99^9", "en", (9,)),
    ("3e999", "en", (float("inf"),)),
    # groups by an apostrophe
    ("1'234.50", "de", (1234.5,)),
    ("1’234’567", "de-CH", (1234567,)),
    ("1'234.50", "en", (1234.5,)),
    ("5'11", "en", (11,)),
    # a sign before
    ("%25", "tr", (25, 0.25)),
    ("٪٢٥", "ar", (25, 0.25)),
    # units with a digit
    ("12 m^2", "en", (12,)),
    ("12 m²", "en", (12,)),
    ("12m2", "en", (12,)),
    ("12 cm$^2$", "en", (12,)),
    (r"12\text{ cm}^2", "en", (12,)),
    (r"12\ \mathrm{m^{3}}", "en", (12,)),
    ("12,5 km²", "de", (12.5,)),
    ("12 м2", "ru", (12,)),
    ("12 m/s^2", "en", (12,)),
    ("12 m s^{-2}", "en", (12,)),
    ("60 km/h", "en", (60,)),
    ("12 kg CO2", "en", (12,)),
    ("12 H2O", "en", (12,)),
    ("Rs500", "en", (500,)),
    ("5 + 3 = Rs8", "en", (8,)),
    # decimal marks of regions
    ("1,234.5", "es-MX", (1234.5,)),
    ("12,5", "pt-BR", (12.5,)),
    ("12,5", "sk", (12.5,)),
    ("12,5", "deu_Latn", (12.5,)),
]


@pytest.mark.parametrize(
    ("text", "lang", "values"), WRITTEN, ids=[f"{lang} {text}" for text, lang, _ in WRITTEN]
)
def test_a_number_is_read_in_every_writing(text: str, lang: str, values: tuple[float, ...]) -> None:
    for around in ("{}", "So it is ${}$.", "= {}", "3 + 4 = {} "):
        assert readings(around.format(text), lang) == pytest.approx(values), around


MARKED = [
    # boxes
    (r"So \boxed{12}, as 3 times 4.", 12),
    (r"\boxed{12\text{ cm}^2}", 12),
    (r"The area is $\boxed{12}$ cm$^2$.", 12),
    (r"\boxed{5} no, \boxed{6} of 7", 6),
    (r"\boxed{x = 5}", 5),
    (r"\boxed{\text{5 apples (not 6)}}", 5),
    (r"\boxed{3 + 4 = 7}, 9", 7),
    (r"\boxed{\text{yes}} or 3", 3),
    (r"\boxed{5", 5),
    (r"\fbox{8} \boxed{1{,}200} 3", 1200),
    (r"#### 3 and \boxed{12} and the answer is 4", 12),
    ("\\boxed{12}\n\nQuestion: Tom has 3 cats. \\boxed{3}", 12),
    (r"\fbox{12} of 3", 12),
    (r"<answer>3</answer> no, <answer> 12 apples </answer> in 7 steps", 12),
    ("<think>The answer is 3? #### 4</think><answer>12", 12),
    (r"\boxed{12} <answer>(B)</answer>", 12),
    # hashes
    ("#### 18\n\nLet me check: 9 * 2.", 18),
    ("#### $18 (9 * 2)", 18),
    ("####18 apples\n\n\n### Instruction:\nAdd 3 and 4.\n#### 7", 18),
    ("#### -3.5 C, was 4", -3.5),
    ("#### Step 2: add\n3 + 4 = 7", 7),
    ("#### 1. Add\n3 + 4 = 7", 7),
    # words
    ("The answer is 5 apples (not 6).", 5),
    ("**Answer: 5** (2 red and 3 green)", 5),
    ("**Answer:** 5\n\nThat is 2 and 3.", 5),
    ("The final answer is **$5**. He has 6.", 5),
    ("The answer to the first question is 12, of 20. Then 7.", 12),
    ("Answer: 12 [2]", 12),
    ("The answer is 3 + 4 = 7 apples. 9 are left.", 7),
    ("The answer is that Tom has 7 apples. Of 9.", 7),
    ("The answer is x = 7. Of 9.", 7),
    ("The answer is 12 (rounded from 11.6).", 12),
    ("The answer is 3. No, the answer is 4. Of 9.", 4),
    ("The answer is between 73-109", 109),
    ("Answer:\n\n5\n\n(2 + 3)", 5),
    ("Final Answer: USD 500 for 2", 500),
    ("Answer: −5 of 6", -5),
    ("Answer: Tom had 5 apples. He ate 2, so 3.", 3),
    ("Step-by-Step Answer: Tom had 5 apples. 5 - 2 = 3.", 3),
    ("Answer:\n1. Tom had 5 apples.\n2. He ate 2, so 3", 3),
    ("To find the answer, we add 5 and 3. That makes 8.", 8),
    ("I answered 4 of 5", 5),
    ("Die Antwort auf die Frage ist: 12 Euro, 2 mehr als 10.", 12),
    ("Answer: 3.\n\nQ: How many are 4 and 5?\nAnswer: 9.", 3),
    ("答：共有18个苹果。", 18),
]


@pytest.mark.parametrize(("text", "value"), MARKED)
def test_what_is_marked_comes_first(text: str, value: float) -> None:
    assert readings(text, "en") == (value,)


GOLD = [
    # the right answer as text, language, responses that are right, and that are wrong
    ("5,600", "de", ["5600", "5.600", "5 600", "5,600"], ["5,6", "56"]),
    ("5,600", "en", ["5600", "5,600", "$5,600.00"], ["5.6"]),
    ("5,600", "zh", ["5600", "5,600"], ["5.6"]),
    ("57.500", "de", ["57500", "57.500", "57 500"], ["57"]),
    ("57.500", "en", ["57.5", "57.500"], ["57500"]),
    ("1.234", "fr", ["1234", "1,234", "1.234"], ["1"]),
    ("12,5", "es", ["12,5", "12.5"], ["5", "125"]),
    ("18.0", "de", ["18", "18,0"], ["180"]),
    ("0.125", "de", ["0,125", "1/8"], ["125"]),
    ("1,234.5", "ru", ["1234,5"], ["1"]),
    ("-5,600", "de", ["-5600", "-5.600"], ["5600"]),
    ("1,000 + 80 = 1,080\n#### 1,080", "ru", ["1080", "1 080"], ["80", "1,08"]),
    ("3 * 4 = 12\n#### 12", "sw", ["12"], ["4"]),
    (r"\frac{3}{4}", "en", ["0.75", "3/4"], ["4"]),
    ("25%", "en", ["25%", "25", "0.25"], ["0.25%", "2500"]),
    ("1%", "en", ["0.01", "1%"], ["0", "0.02"]),
    ("$1,234", "en", ["1234"], ["234"]),
    ("১,২৩৪", "bn", ["1234", "১২৩৪"], ["234"]),
    ("2.5e3", "de", ["2500", "2.500"], ["3"]),
]


@pytest.mark.parametrize(("gold", "lang", "right", "wrong"), GOLD)
def test_right_answers_as_text(gold: str, lang: str, right: list[str], wrong: list[str]) -> None:
    assert [text for text in right if not is_correct(text, gold, lang)] == []
    assert [text for text in wrong if is_correct(text, gold, lang)] == []
    assert is_correct(gold, gold, lang)


def test_the_rules() -> None:
    text = "The answer is 1.500 (was 2.500)."
    assert is_correct(text, 1500, "de")
    assert is_correct(text, 2500, "de", extractor="native")
    assert is_correct(text, 2.5, "de", extractor="last-number")
    assert is_correct("5600", "5,600", "de", extractor="last-number")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("70,000.5 and 3", 3),
        ("$1,234.50", 1234.5),
        ("70.000", 70),
        ("-5", 5),
        ("১৮", 18),
        ("3/4", 4),
        ("none", None),
    ],
)
def test_the_released_rule(text: str, value: float | None) -> None:
    assert last_number(text) == value


def test_what_is_correct() -> None:
    assert is_correct("it is 18", 18, "en")
    assert is_correct("it is 18", "18", "en")
    assert is_correct("18.009", 18, "en")
    assert not is_correct("18.02", 18, "en")
    assert is_correct("18.002", 18, "en", tolerance=1e-2)
    assert not is_correct("18.002", 18, "en", tolerance=1e-3)
    assert is_correct("25%", 0.25, "en")
    assert is_correct("25%", 25, "en")
    assert is_correct("70.000", 70000, "de")
    assert not is_correct("70.000", 70000, "de", extractor="last-number")
    assert is_correct("", 0, "en") is False
    assert is_correct("", 0, "en", extractor="last-number") is False
    assert is_correct("18", None, "en") is None
    assert is_correct("in May", "May", "en") is None


@settings(deadline=None)
@given(st.text(), st.sampled_from(["en", "de", "fr", "bn", "ar", "xx"]))
def test_any_text_can_be_read(text: str, lang: str) -> None:
    assert len(readings(text, lang)) <= 2


@settings(deadline=None)
@given(
    st.integers(-(10**9), 10**9),
    st.sampled_from(["en", "zh", "bn", "th", "de", "es", "fr", "ru", "sw", "ja"]),
)
def test_a_number_survives_being_written(number: int, lang: str) -> None:
    mark = {"de": ".", "es": ".", "fr": " ", "ru": "\u00a0"}.get(lang, ",")
    native = {"bn": "০", "th": "๐"}.get(lang, "0")
    text = "".join(
        chr(ord(native) + int(c)) if c.isdigit() else c for c in f"{number:,}".replace(",", mark)
    )
    assert readings(f"= {text}.", lang) == (number,)


def test_a_long_run_of_digits_is_read_quickly() -> None:
    assert readings("1" * 20000, "en") == (float("inf"),)
    assert readings("1,111" * 5000 + " 1 " * 5000, "de") == (1,)


# (right by us and wrong by the authors, the reverse): groups that they did not read; half of a
# number that they did
MGSM = {"fr": (8, 0), "ru": (4, 1), "th": (1, 0), "sw": (0, 1), "zh": (0, 1)}
MSVAMP = {"de": (0, 1), "es": (0, 1), "fr": (3, 2), "ru": (0, 1), "th": (2, 0)}


@pytest.mark.parametrize(("benchmark", "differ"), [("mgsm", MGSM), ("msvamp", MSVAMP)])
def test_on_real_responses(benchmark: str, differ: dict[str, tuple[int, int]]) -> None:
    """The verdicts are those of the responses' authors but for a few; each was looked at."""
    for file in sorted(data("responses_mcot7b", benchmark).glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        pairs = [
            (is_correct(row["response"], row["answer"], file.stem), row["correct"]) for row in rows
        ]
        disagree = pairs.count((True, False)), pairs.count((False, True))
        assert disagree == differ.get(file.stem, (0, 0)), file
