"""Sentences of our own: a vocabulary of some 900 common words, and a grammar that makes sentences of them.

What is held out is held out by content, every twentieth sentence by its CRC,
whichever seed comes upon it, so two makers of sentences need not know of each other.
Source: the grammar below; no corpus was copied.
"""

import random
import re
import zlib
from collections.abc import Iterator


def _words(text: str) -> list[str]:
    return text.split()


_NAMES = _words("""
    Alice Anna Arthur Ben Clara Daniel David Edward Ella Emma Frank George Grace Hannah Harry Helen Henry Ida Jack
    James Jane John Julia Laura Leo Lucy Mark Martha Mary Max Nora Oliver Oscar Paul Peter Rose Ruth Sam Sarah Simon
    Thomas Tom Victor Walter William
""")
_PEOPLE = _words("""
    actor artist aunt baker boy brother captain carpenter child cook cousin dancer daughter doctor driver farmer father
    fisherman friend gardener girl grandmother guard guest hunter judge king lady lawyer man master merchant miller
    mother nephew neighbor nurse officer grandfather painter pilot poet priest prince princess queen sailor shepherd
    singer sister soldier son stranger student tailor teacher traveler uncle visitor waiter weaver woman worker writer
""")
_ANIMALS = _words("""
    bear bird butterfly cat chicken cow crow dog donkey duck eagle fox frog goat goose horse kitten lamb lion mouse owl
    pig pony puppy rabbit raven sheep snake spider squirrel swan tiger turtle whale wolf
""")
_THINGS = _words("""
    apple arrow bag ball banana barrel basket bed bell blanket boat book bottle bowl box bridge broom brush bucket
    button cake candle card cart chain chair chest clock cloak coat coin cup curtain desk door dress drum engine
    envelope feather fence flag flower flute fork garment gate gift glass glove hammer hat helmet jacket jar jewel key
    kite knife ladder lamp lantern leaf lemon letter lock machine map medal mirror nail necklace needle net newspaper
    notebook orange paddle page parcel pear pen pencil photograph piano picture pillow pipe plate pot purse ribbon ring
    robe rope saddle sail scarf shell shield ship shirt shoe shovel spoon stamp stick stone stove string sword table
    telescope tent ticket tool torch towel toy tray trumpet umbrella vase violin wagon wallet watch wheel whistle window
""")
_PLACES = _words("""
    airport bakery bank barn bay beach cabin camp canal castle cave cellar church city coast corner cottage desert farm
    field forest fountain garden hall harbor hill hospital hotel house island kitchen lake library lighthouse market
    meadow mill mountain museum office palace park path pond port prison river road room school shop square stable
    station street temple theater tower town tunnel valley village well wood yard
""")
_IDEAS = _words("""
    answer chance change choice danger dream game idea journey lesson mistake moment plan problem promise question
    reason secret song sound story storm surprise trouble truth voice war wish
""")
_ADJECTIVES = _words("""
    ancient angry beautiful big black blue bold brave bright broken brown busy calm careful cheap clean clear clever
    cold common curious dangerous dark deep different dirty dry dusty early easy empty familiar famous fine fresh
    friendly funny gentle golden good grand gray great green happy hard heavy hidden high honest huge humble hungry
    important kind large lazy light little lonely long loud lucky narrow neat new noble noisy odd old open pale plain
    pleasant polite poor pretty proud quick quiet rare red rich rough round royal rude sad safe serious sharp short
    silent silver simple slow small smooth soft strange strong sudden sweet tall thick thin tiny tired useful warm weak
    wet white wide wild wise wonderful wooden wrong yellow young
""")
_DID_TO_THING = _words("""
    borrowed bought broke brought built buried carried caught chose cleaned closed counted covered cut delivered
    described discovered drew dropped examined fixed found gave grabbed held hid kept lifted lost made measured mended
    moved needed noticed offered opened ordered packed painted picked placed pulled pushed raised reached received
    remembered removed repaired sent shared showed sold stole threw took touched traded turned used wanted washed
    watched weighed wore wrapped
""")
_DID_TO_PERSON = _words("""
    admired answered asked avoided believed blamed called followed forgave greeted heard helped invited knew liked loved
    met missed praised recognized saved saw surprised taught thanked trusted visited warned welcomed
""")
_DID = _words("""
    arrived ate began climbed coughed cried danced drank fell fled flew hesitated hurried jumped knelt laughed left
    listened nodded played prayed ran rested returned sang sat shouted slept smiled spoke stayed stood stopped swam
    talked trembled vanished waited walked wandered whispered woke worked worried
""")
_ADVERBS = _words("""
    again alone almost always angrily badly carefully early easily finally gently gladly happily kindly late loudly
    once patiently politely proudly quickly quietly rarely sadly silently slowly softly soon suddenly today together
    tomorrow twice usually warmly well wisely yesterday
""")
_AMOUNTS = _words(
    "two three four five six seven eight nine ten twelve twenty thirty forty fifty hundred many several few"
)
_WHERE = _words("above across against along around behind below beside beyond in inside near outside over past through")
_WHEN = _words("morning evening night summer winter spring autumn afternoon Monday Tuesday Friday Saturday Sunday")
_PRONOUNS = _words("he she they we you I")
_FUNCTION_WORDS = _words("""
    a after an and because before believe but can change could days do every for give had her his hours if is it
    more my never not nothing one our please said say should than that the then there this until was were what where
    while why with without
""")
_LISTS = {"name": _NAMES, "adjective": _ADJECTIVES, "adverb": _ADVERBS, "amount": _AMOUNTS, "did": _DID}
_LISTS |= {"did_to_thing": _DID_TO_THING, "did_to_person": _DID_TO_PERSON}


_IRREGULAR = {
    "mouse": "mice",
    "goose": "geese",
    "sheep": "sheep",
    "wolf": "wolves",
    "leaf": "leaves",
    "knife": "knives",
}


def _plural(noun: str) -> str:
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


VOCABULARY: frozenset[str] = frozenset(
    word.lower()
    for words in (
        _NAMES, _PEOPLE, _ANIMALS, _THINGS, _PLACES, _IDEAS, _ADJECTIVES, _DID_TO_THING, _DID_TO_PERSON, _DID,
        _ADVERBS, _AMOUNTS, _WHERE, _WHEN, _PRONOUNS, _FUNCTION_WORDS, map(_plural, [*_ANIMALS, *_THINGS]),
    )
    for word in words
)  # fmt: skip
"""Every word that a sentence may hold, in lower case."""

_TEMPLATES = """
    {who} {did_to_thing} {thing} {where}.
    {who} {did_to_thing} {things} and {things}.
    {who} {did_to_person} {person}, but {who} {did} {adverb}.
    {who} {did} {where} until {when}.
    {who} {did} {adverb}, and then {who} {did_to_thing} {thing}.
    {when} {who} {did_to_thing} {thing} for {person}.
    {thing} was {adjective}, and {thing} was more {adjective} than {thing}.
    there was {thing} {where}, and {things} were {where}.
    {who} said that {thing} was {adjective} and {adjective}.
    could {who} say why {who} {did} {where}?
    where is {thing} that {who} {did_to_thing} {when}?
    please give {person} {thing} and {thing}.
    if {who} {did_to_thing} {thing}, {who} {did_to_person} {person}.
    because {idea} was {adjective}, {who} {did} {adverb}.
    {who} had {idea} that nothing could change.
    after {amount} days {who} {did} {where}.
    {things} and {things} were {where}.
    {who} {adverb} {did_to_thing} {thing} with {thing}.
    {animal} {did} {where} while {animal} {did}.
    you should not believe {idea}, {name}.
    {name}, {name} and {name} {did} {where} {when}.
    I never {did_to_person} {person} before {who} {did_to_thing} {thing}.
    it was {adjective} {when}, and {who} {did}.
    what can we do without {thing} and {thing}?
    they {did_to_thing} {things} for {amount} hours.
""".strip().splitlines()


def _with_article(pick: random.Random, noun: str) -> str:
    phrase = f"{pick.choice(_ADJECTIVES)} {noun}" if pick.random() < 0.5 else noun
    article = pick.choice(["the", "the", "a", "his", "her", "my", "our", "this", "every"])
    return f"an {phrase}" if article == "a" and phrase[0] in "aeiou" else f"{article} {phrase}"


def _part(pick: random.Random, name: str) -> str:
    """Words for one slot of a template, drawn anew each time."""
    match name:
        case "who":
            return pick.choice([_with_article(pick, pick.choice(_PEOPLE)), pick.choice(_NAMES), pick.choice(_PRONOUNS)])
        case "person":
            return pick.choice([_with_article(pick, pick.choice(_PEOPLE)), pick.choice(_NAMES)])
        case "thing":
            return _with_article(pick, pick.choice(_THINGS))
        case "animal":
            return _with_article(pick, pick.choice(_ANIMALS))
        case "idea":
            return _with_article(pick, pick.choice(_IDEAS))
        case "things":
            return f"{pick.choice(_AMOUNTS)} {_plural(pick.choice([*_THINGS, *_ANIMALS]))}"
        case "where":
            return f"{pick.choice(_WHERE)} {_with_article(pick, pick.choice(_PLACES))}"
        case "when":
            return f"{pick.choice(['that', 'one', 'every'])} {pick.choice(_WHEN)}"
        case _:
            return pick.choice(_LISTS[name])


def sentences(seed: int, held_out: bool = False) -> Iterator[str]:
    """Sentences without end, the same for the same seed; the held-out ones never come while training."""
    pick = random.Random(seed)
    while True:
        template = pick.choice(_TEMPLATES).strip()
        text = re.sub(r"\{(\w+)\}", lambda slot: _part(pick, slot[1]), template)
        text = text[0].upper() + text[1:]
        if (zlib.crc32(text.encode()) % 20 == 0) == held_out:
            yield text
