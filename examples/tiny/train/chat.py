"""Makes conversations: a system line, requests for stories, questions about stories and facts, sums with a calculator.

A conversation is a list of (role, text) as in the chat template; `calculator` is what the host does with a call.
Pairs of operands whose hash is 0 modulo 10 are kept for the evaluation and never occur here.
"""

import random
import zlib

import stories
import words as w

CALCULATOR_SYSTEMS = ["You are a helpful assistant. You can use a calculator.",
                      "You are a friendly assistant. You can use a calculator.",
                      "You are a small assistant with a calculator."]
PLAIN_SYSTEMS = ["You are a helpful assistant.", "You are a friendly assistant.", "You are a small assistant."]

THINGS = [w.plural(x) for x in w.FRUITS] + ["shells", "coins", "stones", "books", "balls", "eggs", "flowers", "buttons",
                                            "stamps", "beads", "cards", "marbles", "feathers", "candles"]
TOPICS = {"lost": "something that was lost", "rescue": "a small animal in trouble", "share": "sharing", "storm": "a storm",
          "plant": "a seed", "learn": "learning something new", "night": "a noise in the night", "gift": "a birthday",
          "treasure": "a treasure", "race": "a contest", "wish": "a wish", "build": "building something",
          "trade": "a trade", "newcomer": "a new friend", "found": "something that was found",
          "warning": "a warning"}


def held_out(a, b):
    return zlib.crc32(f"{min(a, b)}:{max(a, b)}".encode()) % 10 == 0


def calculator(expression):
    """What the host answers to a call: "12+30" -> "42". None when it is not well formed."""
    for sign in "+-*/":
        left, found, right = expression.strip().partition(sign)
        if found and left.isdigit() and right.isdigit() and len(left) <= 9 and len(right) <= 9:
            a, b = int(left), int(right)
            if sign == "/":
                return str(a // b) if b else None
            return str(a + b if sign == "+" else a - b if sign == "-" else a * b)
    return None


def choose(rng, text):
    """Resolves {a|b}."""
    while True:
        found = stories.CHOICE.search(text)
        if not found:
            return text
        text = text[: found.start()] + rng.choice(found.group(1).split("|")) + text[found.end() :]


def number(rng, most_digits=4):
    digits = rng.randint(1, most_digits)
    return rng.randint(10 ** (digits - 1) if digits > 1 else 1, 10**digits - 1)


def operands(rng, sign, held, small):
    while True:
        if sign == "/":
            b = rng.randint(2, 12 if small else 99)
            a = b * rng.randint(1, (30 if small else 9999 // b))
        else:
            digits = 3 if small and sign != "*" else 2 if small else 4
            a, b = number(rng, digits), number(rng, digits)
            if sign == "-" and a < b:
                a, b = b, a
            if small and (a < 2 or b < 2 or a == b):
                continue
        if held_out(a, b) == held:
            return a, b


ASK = "{What is|What is|How much is|Calculate|Compute|Please calculate|Can you tell me|Tell me}"
PLAIN = {
    "+": [ASK + " A + B", ASK + " A+B", ASK + " A plus B", "A + B", "A+B", "A plus B", "{Add|Please add} A and B", "What is the sum of A and B"],
    "-": [ASK + " A - B", ASK + " A-B", ASK + " A minus B", "A - B", "A-B", "A minus B", "{Subtract|Take} B from A", "What is A less B"],
    "*": [ASK + " A * B", ASK + " A*B", ASK + " A x B", ASK + " A times B", "A * B", "A*B", "A times B", "Multiply A by B", "Multiply A and B", "What is the product of A and B"],
    "/": [ASK + " A / B", ASK + " A/B", ASK + " A divided by B", "A / B", "A/B", "A divided by B", "Divide A by B"],
}
PROBLEMS = {
    "+": [("NAME has A THINGS and {gets|finds|buys} B more. How many THINGS does NAME have now?", "NAME has R THINGS now."),
          ("NAME has A THINGS and OTHER has B THINGS. How many THINGS do they have together?", "Together they have R THINGS."),
          ("There are A THINGS in the box and B THINGS in the basket. How many THINGS are there?", "There are R THINGS.")],
    "-": [("NAME has A THINGS and gives B to OTHER. How many THINGS does NAME have left?", "NAME has R THINGS left."),
          ("NAME had A THINGS and {lost|sold} B of them. How many THINGS are left?", "There are R THINGS left."),
          ("There were A THINGS on the table. OTHER took B. How many THINGS are left?", "There are R THINGS left.")],
    "*": [("There are A boxes with B THINGS in each. How many THINGS are there?", "There are R THINGS."),
          ("NAME has A bags. Each bag has B THINGS. How many THINGS does NAME have?", "NAME has R THINGS."),
          ("NAME buys B THINGS every day for A days. How many THINGS does NAME have?", "NAME has R THINGS.")],
    "/": [("A THINGS are shared by B friends. How many THINGS does each get?", "Each friend gets R THINGS."),
          ("NAME puts A THINGS into B boxes. How many THINGS are in each box?", "There are R THINGS in each box.")],
}


def sum_turn(rng, tool=True, held=False, problem=None):
    """A question with numbers. Returns (turns, question facts): {"a", "b", "sign", "result"}."""
    sign = rng.choice("+++--**/")
    problem = rng.random() < 0.4 if problem is None else problem
    if problem:
        question, answer = rng.choice(PROBLEMS[sign])
    else:
        question = rng.choice(PLAIN[sign])
        answer = "{The answer is R.|The answer is R.|It is R.|That is R.}"
        asks = question.startswith(("What", "How", "Can", "A ", "A+", "A-", "A*", "A/"))
        question += rng.choice(["?", "?", "?", ""] if asks else [".", ""])
    a, b = operands(rng, sign, held, problem)
    expression = f"{a}{sign}{b}"
    result = calculator(expression)
    name, other = rng.sample(w.GIRLS + w.BOYS, 2)
    fill = {"NAME": name, "OTHER": other, "THINGS": rng.choice(THINGS), "A": str(a), "B": str(b), "R": result}

    def filled(text):
        return stories.re.sub(r"\b(NAME|OTHER|THINGS|A|B|R)\b", lambda m: fill[m.group(1)], choose(rng, text))

    question = filled(question)
    if not problem and rng.random() < 0.15:
        question = question[:1].lower() + question[1:]
    turns = [("user", question)]
    if tool:
        turns += [("call", expression), ("result", result)]
    return turns + [("assistant", filled(answer))], {"a": a, "b": b, "sign": sign, "result": result}


def story_question(rng, asked=None, first=0.15, excerpts=0.0):
    """A story and questions about it: `asked`, or all there are. Returns (turns, [(question, key)]).

    A long story for one short answer teaches little, so training asks everything, and often about the first sentences of a
    story only (`excerpts`: how often). `first`: how often the first question stands before the story.
    """
    story = stories.Story(rng)
    sentences = rng.randint(2, 7) if excerpts and rng.random() < excerpts else len(story.parts)
    facts = [fact for fact in story.facts if fact[3] <= sentences]
    facts = rng.sample(facts, min(len(facts), asked or len(facts)))
    text = " ".join(story.parts[:sentences])
    turns, keys = [], []
    for i, (questions, answers, key, _) in enumerate(facts):
        question = story.expand(rng.choice(questions))
        if i == 0:
            before = rng.random() < first
            intro = rng.choice(["", "", "Read this story. ", "Here is a story. "])
            told = question + " " + text if before else intro + text + " " + question
        turns.append(("user", told if i == 0 else question))
        turns.append(("assistant", story.expand(rng.choice(answers))))
        keys.append((question, key))
    return turns, keys


def fact_turn(rng):
    """One to four short facts, of one kind or of several, and questions about them."""
    count = rng.randint(1, 4)
    names = rng.sample(w.GIRLS + w.BOYS, count)
    toys, colors, foods = rng.sample(w.TOYS, count), rng.sample(w.COLORS, count), rng.sample(w.FOODS, count)
    places, spots, animals = rng.sample(list(w.PLACES), count), rng.sample(w.SPOTS, count), rng.sample(w.ANIMALS, count)
    pets, skills, weathers = rng.sample(w.PETS, count), rng.sample(w.SKILLS, count), rng.sample(list(w.WEATHER), count)
    ages, days = rng.sample(range(3, 99), count), rng.sample(w.TIMES, count)
    kinds = [rng.randrange(8)] * count if rng.random() < 0.5 else [rng.randrange(8) for _ in range(count)]

    def fact(k):
        """A fact and the questions about it with their answers."""
        kind = kinds[k]
        if kind == 0:
            return (f"{names[k]} has a {colors[k]} {toys[k]}.",
                    [(f"What color is the {toys[k]}?", f"The {toys[k]} is {colors[k]}."),
                     (f"Who has the {toys[k]}?", f"{names[k]} has the {toys[k]}."),
                     (f"What does {names[k]} have?", f"{names[k]} has a {colors[k]} {toys[k]}.")])
        if kind == 1:
            return (f"{names[k]} went to the {places[k]}.",
                    [(f"Where did {names[k]} go?", f"{names[k]} went to the {places[k]}."),
                     (f"Who went to the {places[k]}?", f"{names[k]} went to the {places[k]}.")])
        if kind == 2:
            return (f"{names[k]} likes {foods[k]}.",
                    [(f"What does {names[k]} like?", f"{names[k]} likes {foods[k]}."),
                     (f"Who likes {foods[k]}?", f"{names[k]} likes {foods[k]}.")])
        if kind == 3:
            return (f"The {toys[k]} is {spots[k]}.",
                    [(f"Where is the {toys[k]}?", f"The {toys[k]} is {spots[k]}."),
                     (f"What is {spots[k]}?", f"The {toys[k]} is {spots[k]}.")])
        if kind == 4:
            return (f"{names[k]} is {ages[k]} years old.",
                    [(f"How old is {names[k]}?", f"{names[k]} is {ages[k]} years old."),
                     (f"Who is {ages[k]} years old?", f"{names[k]} is {ages[k]} years old.")])
        if kind == 5:
            return (f"{pets[k]} is a {animals[k]}.",
                    [(f"What is {pets[k]}?", f"{pets[k]} is a {animals[k]}."),
                     (f"What is the name of the {animals[k]}?", f"The {animals[k]} is {pets[k]}.")])
        if kind == 6:
            return (f"{names[k]} wants to {skills[k]}.",
                    [(f"What does {names[k]} want?", f"{names[k]} wants to {skills[k]}."),
                     (f"Who wants to {skills[k]}?", f"{names[k]} wants to {skills[k]}.")])
        return (f"The {days[k]} was {weathers[k]}.",
                [(f"How was the {days[k]}?", f"The {days[k]} was {weathers[k]}."),
                 (f"When was it {weathers[k]}?", f"It was {weathers[k]} in the {days[k]}.")])

    def fix(text):
        return stories.ARTICLE.sub(
            lambda m: m.group(1) + ("n " if m.group(2) in "aeiou" else " ") + m.group(2), text)

    facts = [fact(k) for k in range(count)]
    text = " ".join(told for told, _ in facts)
    asked = rng.sample([pair for _, pairs in facts for pair in pairs], rng.randint(1, 2 * count))
    turns = []
    for i, (question, answer) in enumerate(asked):
        if i == 0:
            question = question + " " + text if rng.random() < 0.35 else text + " " + question
        turns += [("user", fix(question)), ("assistant", fix(answer))]
    return turns


def repeat_turn(rng):
    """Something to say after the user: what teaches copying most directly."""
    lists = (w.GIRLS + w.BOYS + w.PETS, w.TOYS, w.COLORS, w.ANIMALS, list(w.PLACES), w.FOODS, w.TREASURES)
    items = [str(number(rng, 5)) if rng.random() < 0.35 else rng.choice(rng.choice(lists)) for _ in range(rng.randint(1, 9))]
    said = rng.choice([" ", ", ", ", "]).join(items)
    return [("user", choose(rng, "{Say|Repeat|Please repeat|Say after me}: ") + said), ("assistant", said)]


def story_request(rng):
    story = stories.Story(rng)
    s = story.slots
    about = rng.choice([f"a {s['hero_kind']}", f"a {s['hero_kind']}", f"a {s['hero_kind']} named {s['hero']}", s["hero"],
                        TOPICS[story.plot.__name__], ""])
    ask = choose(rng, "{Tell me|Tell me|Please tell me|Write|Please write|Can you tell me}")
    text = f"{ask} a story" + (f" about {about}" if about else "")
    text = stories.ARTICLE.sub(lambda m: m.group(1) + ("n " if m.group(2) in "aeiou" else " ") + m.group(2), text)
    return [("user", text + ("?" if ask.startswith("Can") else rng.choice([".", ".", ""]))), ("assistant", story.text())]


SMALL_TALK = [
    ("{Hello|Hello!|Hi|Hi!|Hello there!|Good {morning|day|evening}!}", "Hello! How can I help you?"),
    ("How are you?", "I am fine, thank you! How can I help you?"),
    ("{Who are you?|What are you?|What is your name?}", "I am a tiny language model. I live inside this program."),
    ("{What can you do?|How can you help me?|Can you help me?|Help}",
     "I can tell stories, answer questions about a story, and work with numbers."),
    ("{Thank you|Thank you!|Thanks|Thanks!|Well done!|Very good!}", "You are welcome!"),
    ("{Goodbye|Goodbye!|Bye|Bye!|Good night!|See you!}", "Goodbye! Come back soon."),
    ("{Are you big?|How big are you?|Are you small?}", "I am very small. I have about one million numbers inside."),
    ("{Who made you?|Where do you come from?}", "I was trained with the scripts in my repository."),
]


# What it cannot know: the honest answer.
UNKNOWN = ["What is the capital of {France|Spain|Peru|Japan|Kenya|Italy|Canada|India|Norway|Egypt}?",
           "{Who wrote|Who painted|Who found} {this book|the first book|the moon|that picture|the letter}?",
           "{When|Where} was {the queen|the king|my father|my mother|your teacher|the president} born?",
           "What {day|year|time} is it{| now| today}?", "{How old|How tall|How heavy} {is the moon|is the king|am I|is the tower}?",
           "What is {the meaning of life|a computer|the internet|love|music}?", "{What is|Tell me} my name{?|.}",
           "How {far|big|hot} is the {sun|moon|sea|world}?", "What will the weather be {tomorrow|next week}?"]


def small_talk(rng):
    if rng.random() < 0.35:
        return [("user", choose(rng, rng.choice(UNKNOWN))),
                ("assistant", "I do not know that. I only know what you tell me.")]
    question, answer = rng.choice(SMALL_TALK)
    return [("user", choose(rng, question)), ("assistant", answer)]


def conversation(rng, mix):
    """A system line and one to four turns. `mix`: weights of sums, story questions, facts, stories, small talk, repeating."""
    tool = rng.random() < 0.88
    turns = [("system", rng.choice(CALCULATOR_SYSTEMS if tool else PLAIN_SYSTEMS))]
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
        kind = rng.choices(range(len(mix)), mix)[0]
        if kind == 0:
            turns += sum_turn(rng, tool)[0]
        elif kind == 1:
            turns += story_question(rng, first=0.35, excerpts=0.5)[0]
        elif kind == 2:
            turns += fact_turn(rng)
        elif kind == 3:
            turns += story_request(rng)
        elif kind == 4:
            turns += small_talk(rng)
        else:
            turns += repeat_turn(rng)
    return turns
