"""Answer words: how texts in many languages say `the answer is`, and where a next question begins.

They are looked for whatever language a response is to be in: models often say it in English.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

_TABLE = """
af antwoord                 : is
am መልሱ መልስ                 : ነው              :
ar الجواب الإجابة الاجابة جواب إجابة : هو هي يساوي تساوي :
az cavabı cavab             :                  :
be адказ                    : гэта             :
bg отговорът отговора отговор : е
bn উত্তরটি উত্তর জবাব            : হল হলো হ'ল হচ্ছে হবে   :
bo ལན་ ལན                   : ནི                :
bs odgovor                  : je glasi
ca resposta                 : és
cs odpověď                  : je zní
cy ateb                     : yw
da svaret svar              : er bliver
de antwort                  : ist lautet beträgt
el απάντηση                 : είναι
en answer                   : is was equals would_be will_be should_be becomes
eo respondo                 : estas
es respuesta                : es sería será
et vastus                   : on
eu erantzuna                : da               :
fa پاسخ جواب                : برابر عبارت_است_از :
fi vastaus                  : on
fil sagot                   : ay
fr réponse                  : est serait sera
ga freagra                  : is ná
gl resposta                 : é será
gu જવાબ                    :                  :
ha amsar amsa               : ita_ce shi_ne shine ce ne :
he התשובה תשובה             : היא הוא          :
hi उत्तर जवाब                  : है होगा            :
hr odgovor                  : je glasi
hu válasz                   : az               :
hy պատասխանը պատասխան       : է                :
id jawabannya jawaban       : adalah ialah yaitu :
ig azịza                    : bụ               :
is svarið svar              : er
it risposta                 : è sarà sarebbe e'
ja 答え 解答 回答 正解          : は が             :
ka პასუხია პასუხი            : არის             :
kk жауабы жауап             :                  :
km ចម្លើយ                    : គឺ                :
kn ಉತ್ತರ                    :                  :
ko 정답 답변 답               : 은 는             :
ky жообу жооп               :                  :
lo ຄຳຕອບ                    : ແມ່ນ ຄື            :
lt atsakymas                : yra              :
lv atbilde                  : ir
mk одговорот одговор        : е
ml ഉത്തരം                   :                  :
mn хариулт                  : нь               :
mr उत्तर                      : आहे              :
ms jawapannya jawapan       : ialah adalah     :
mt tweġiba                  : hija huwa hi     :
my အဖြေမှာ အဖြေ               :                  :
nb svaret svar              : er blir
ne उत्तर                      : हो               :
nl antwoord                 : is luidt
nn svaret svar              : er blir
no svaret svar              : er blir
pa ਜਵਾਬ ਉੱਤਰ                 :                  :
pl odpowiedź odpowiedzią    : to brzmi wynosi jest :
pt resposta                 : é será seria
ro răspunsul răspuns        : este e
ru ответ                    : равен будет составляет это :
si පිළිතුර                    :                  :
sk odpoveď                  : je znie
sl odgovor                  : je se_glasi
so jawaabtu jawaabta jawaab : waa              :
sq përgjigjja përgjigja përgjigje : është
sr одговор odgovor          : је гласи je glasi
sv svaret svar              : är blir
sw jibu jawabu              : ni               :
ta பதில் விடை                :                  :
te సమాధానం జవాబు             :                  :
tg ҷавоб                    :                  :
th คำตอบ                     : คือ เท่ากับ เป็น    :
tr cevap cevabı cevabımız yanıt yanıtı : :
uk відповідь відповіддю     : це дорівнює становить буде :
ur جواب                     : ہے               :
uz javobi javob             :                  :
vi đáp_án đáp_số câu_trả_lời trả_lời : là      :
xh impendulo                : ngu yi           :
yo ìdáhùn idahun            : ni jẹ́            :
zh 答案 解答 答                : 是 为 為 等于 等於 就是 :
zu impendulo                : ithi ngu yi      :
"""
"""Of each language: words for an answer, words for `is`; a colon at the end of a row where the
number may stand right after the answer's word. A low line is a blank."""

_QUESTIONS = """
Question Problem Instruction Q Frage Aufgabe Pregunta Problema Pergunta Questão Domanda
Вопрос Задача Питання Swali Câu_hỏi Soru Pertanyaan Soal Vraag Pytanie Zadanie
问题 問題 题目 質問 질문 문제 প্রশ্ন คำถาม โจทย์ السؤال سؤال प्रश्न सवाल ప్రశ్న கேள்வி
"""


_WITHOUT_CASE = "\u0590"
"""From here on Unicode has the scripts of the Near and Far East."""


class Said(NamedTuple):
    """A place where a text says that its answer comes.

    Attributes:
        end: where the answer begins.
        plainly: it says `the answer is`, and is no heading, `Answer:`.
    """

    end: int
    plainly: bool


def _one_of(words: Iterable[str]) -> str:
    """Any of these words. In scripts that end words with blanks they must stand alone."""
    ordered = sorted((word.replace("_", " ") for word in words), key=len, reverse=True)
    alone = [re.escape(word) for word in ordered if word[0] < _WITHOUT_CASE]
    anywhere = [re.escape(word) for word in ordered if word[0] >= _WITHOUT_CASE]
    ways = [rf"(?<!\w)(?:{'|'.join(alone)})(?!\w)"] if alone else []
    if anywhere:
        firsts = "".join(sorted({word[0] for word in anywhere}))
        ways.append(f"(?=[{firsts}])(?:{'|'.join(anywhere)})")
    return "|".join(ways)


def _after(copulas: Collection[str], *, directly: bool) -> re.Pattern[str]:
    """What stands between a word for an answer and the answer."""
    ways = [r"(?P<heading>[^\w\n.!?。:：=]*(?:\([^()\n]*\))?\W{0,2}[:：=])"]
    if copulas:
        ways.insert(0, rf"(?P<plainly>[^\d\n.!?。:：=]{{0,50}}?(?:{_one_of(copulas)}):?)")
    if directly:
        ways.append(r"(?=[^\w\n.,;!?।。()]{0,6}\d)")
    return re.compile("|".join(ways), re.IGNORECASE)


def _after_each() -> dict[str, re.Pattern[str]]:
    """What stands after each word for an answer, in all languages that have it."""
    copulas: dict[str, set[str]] = {}
    direct = set()
    for row in _TABLE.strip().split("\n"):
        words, says, *directly = row.partition(" ")[2].split(":")
        for word in words.split():
            copulas.setdefault(word, set()).update(says.split())
            if directly:
                direct.add(word)
    return {
        word.replace("_", " "): _after(says, directly=word in direct)
        for word, says in copulas.items()
    }


LANGUAGES = tuple(row.split()[0] for row in _TABLE.strip().split("\n"))
"""Codes of the languages whose words are known."""

_AFTER = _after_each()
_ANSWER = re.compile(_one_of(_AFTER), re.IGNORECASE)

NEXT_QUESTION = re.compile(
    rf"\n[\s*#]*(?:{_one_of(_QUESTIONS.split())})\s*\d*\**\s*[:：]", re.IGNORECASE
)
"""Where a model goes on with a question that nobody asked."""

SENTENCE = re.compile(r"(?:(?![.!?।؟]['\")*\]]*(?:\s|$)|[。！？।])[^\n])*")
"""The rest of a sentence, at most of a line."""

NEAR = re.compile(
    r"(?:(?!-)[^\w.,;!?%।。]|-(?=\s))*"
    r"(?:(?:US|R|S|A|C|NT|HK)\$\s*|(?:Rs|Rp|RM|USD|EUR|GBP|INR|KES|Ksh|Tsh|TL|kr)\.?\s*)?",
    re.IGNORECASE,
)
"""What may stand between `the answer is` and a number that is the answer at first sight."""


def said(text: str) -> Iterator[Said]:
    """Where a text says that its answer comes, in order."""
    for word in _ANSWER.finditer(text):
        if then := _AFTER[word[0].lower()].match(text, word.end()):
            yield Said(then.end(), plainly=bool(then.groupdict().get("plainly")))
