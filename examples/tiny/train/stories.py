"""Makes short stories: a cast, a place, the weather and one of sixteen plots, told with many small choices of words.

Notation of the templates: {a|b} is a choice, may be nested; [x] is a slot of the cast; "a" becomes "an" where it must.
Every story also keeps the facts in it, as questions with their answers, for the second stage.
"""

import random
import re

import words as w

CHOICE = re.compile(r"\{([^{}]*)\}")
SLOT = re.compile(r"\[(\w+)\]")
ARTICLE = re.compile(r"\b([Aa]) (honest|\w)")
PRONOUNS = {"f": ("she", "her", "her", "herself", "hers"), "m": ("he", "him", "his", "himself", "his")}


class Story:
    """One story being told. `slots` holds the cast; `parts` its sentences; `facts` (questions, answers, key, told),
    where `told` is how many of the sentences it takes to know."""

    def __init__(self, rng, hero=None, plot=None):
        self.rng = rng
        self.parts = []
        self.facts = []
        self.slots = {}
        self.cast("hero", "", hero)
        self.cast("friend", "f")
        s = self.slots
        self.plot = plot or rng.choice(PLOTS)
        self.set_places(*rng.sample(w.FERTILE if self.plot is plant else list(w.PLACES), 2))
        s.update(color=rng.choice(w.COLORS), toy=rng.choice(w.TOYS),
                 treasure=rng.choice(w.TREASURES), food=rng.choice(w.FOODS), fruit=rng.choice(w.FRUITS),
                 small=rng.choice(w.SMALL), trait=rng.choice(w.TRAITS), size=rng.choice(w.SIZES), time=rng.choice(w.TIMES),
                 spot=rng.choice(w.SPOTS), family=rng.choice(w.FAMILY), helper=rng.choice(w.HELPERS),
                 skill=rng.choice(w.SKILLS), plant=rng.choice(w.PLANTS), happy=rng.choice(w.HAPPY), sad=rng.choice(w.SAD),
                 weather=rng.choice(list(w.WEATHER)))
        s["fruits"] = w.plural(s["fruit"])
        s["spot2"] = rng.choice([x for x in w.SPOTS if x != s["spot"]])
        self.plot(self)

    def set_places(self, place, place2):
        """[at] is "in the forest", "by the river": being at [place]."""
        self.slots.update(place=place, place2=place2, at=w.PLACES[place] + " the " + place)

    def cast(self, role, prefix, given=None):
        """A name, a kind ("girl", "fox") and the pronouns of one character. `given`: (kind, name), either may be None."""
        rng, s = self.rng, self.slots
        kind, name = given or (None, None)
        if kind is None:
            kind = rng.choice(["girl", "boy"]) if rng.random() < 0.6 else rng.choice(w.ANIMALS)
        while kind == s.get("hero_kind") and kind not in ("girl", "boy"):
            kind = rng.choice(w.ANIMALS)
        gender = {"girl": "f", "boy": "m"}.get(kind) or rng.choice("fm")
        names = {"girl": w.GIRLS, "boy": w.BOYS}.get(kind, w.PETS)
        name = name or rng.choice([n for n in names if n != s.get("hero")])
        if name in w.GIRLS:
            gender = "f"
        elif name in w.BOYS:
            gender = "m"
        s[role], s[role + "_kind"] = name, kind
        for word, form in zip(("he", "him", "his", "himself", "hers"), PRONOUNS[gender]):
            s[prefix + word], s[(prefix + word).capitalize()] = form, form.capitalize()

    def expand(self, template):
        while True:
            found = CHOICE.search(template)
            if not found:
                break
            template = template[: found.start()] + self.rng.choice(found.group(1).split("|")) + template[found.end() :]
        while SLOT.search(template):
            template = SLOT.sub(lambda m: self.slots[m.group(1)], template)
        template = ARTICLE.sub(lambda m: m.group(1) + ("n " if m.group(2) == "honest" or m.group(2) in "aeiouAEIOU" else " ") + m.group(2), template)
        return template[:1].upper() + template[1:]

    def tell(self, *alternatives):
        """Adds one of the templates, expanded."""
        self.parts.append(self.expand(self.rng.choice(alternatives)))

    def maybe(self, chance, *alternatives):
        if self.rng.random() < chance:
            self.tell(*alternatives)

    def fact(self, questions, answers, key):
        """Keeps a question about what was told; `key` is the word that a right answer must have."""
        self.facts.append((questions, answers, self.slot_text(key), len(self.parts)))

    def slot_text(self, key):
        return SLOT.sub(lambda m: self.slots[m.group(1)], key)

    def text(self):
        return " ".join(self.parts)

    # --- parts that many plots share ---

    def opening(self):
        s = self.slots
        child = s["hero_kind"] in ("girl", "boy")
        self.tell("Once upon a time, there was a [size] [hero_kind] named [hero].",
                  "Once upon a time, there was a [trait] [hero_kind] named [hero].",
                  "Once upon a time, a [size] [hero_kind] named [hero] lived in " + self.rng.choice(w.HOMES) + ".",
                  "Once upon a time, in " + self.rng.choice(w.HOMES) + ", there lived a [size] [hero_kind] named [hero].",
                  "Once upon a time, there was a [size] and [trait] [hero_kind]. [His] name was [hero].",
                  "There once was a [trait] [hero_kind] named [hero].",
                  "[hero] was a [trait] [hero_kind] who lived in " + self.rng.choice(w.HOMES) + ".",
                  "Long ago, a [trait] [hero_kind] named [hero] lived in " + self.rng.choice(w.HOMES) + ".")
        self.maybe(0.35, "Everyone {liked|loved} [hero] because [he] was so [trait].",
                   "[He] was {very|always} [trait].",
                   "[He] {loved|liked} to {play|walk|sit|sing} {outside|in the sun|near the [place2]|by the [place2]}.",
                   "[He] {loved|liked} [fruits] more than anything{| else}.",
                   "[He] lived with [his] [family] and a {old|lazy|friendly} {cat|dog|goose}." if child else
                   "[He] lived in a {warm|small|old} {nest|den|burrow|hut} {near|by} the [place2].")
        questions = ["Who is the story about?", "Who is the main character?"]
        if s["hero_kind"] != s["friend_kind"]:
            questions.append("What is the name of the [hero_kind]?")
        self.fact(questions,
                  ["The story is about [hero].", "It is about [hero]."], "[hero]")
        self.fact(["What kind of {animal|character} is [hero]?", "What is [hero]?"] if not child else
                  ["Is [hero] a girl or a boy?"], ["[hero] is a [hero_kind]."], "[hero_kind]")

    def one_day(self, rest):
        """"One sunny morning, " + rest, with the weather as a fact."""
        weather = w.WEATHER[self.slots["weather"]]
        self.tell("One [weather] [time], " + rest, "One [time], " + weather + ", and " + rest,
                  "One [time], when " + weather + ", " + rest, "On a [weather] [time], " + rest)
        self.fact(["What was the weather like?", "How was the weather?"],
                  ["It was [weather].", "The weather was [weather]."], "[weather]")

    def where(self, verb="went"):
        self.fact(["Where did [hero] go?", "Where did [he] go?"], ["[hero] went to the [place].", "[He] went to the [place]."],
                  "[place]")

    def meet(self):
        """Introduces the friend."""
        self.tell("There [he] met a [friend_kind] named [friend].", "On the way, [he] met a [friend_kind] named [friend].",
                  "A [friend_kind] named [friend] {came by|was there|was sitting nearby}.",
                  "Then a [friend_kind] named [friend] came {along|by|down the path}.")
        questions = ["Who did [hero] meet?", "Who did [he] meet?"]
        if self.slots["friend_kind"] != self.slots["hero_kind"]:
            questions.append("What is the name of the [friend_kind]?")
        self.fact(questions,
                  ["[hero] met [friend].", "[He] met [friend]."], "[friend]")

    def say(self, who, words, kind="said"):
        """Direct speech: who is "hero" or "friend"."""
        he = "he" if who == "hero" else "fhe"
        if self.slots["he"] == self.slots["fhe"]:
            he = who  # "he said" would leave open who
        words = self.expand(words)
        mark = words[-1]
        quoted = '"' + (words[:-1] + "," if mark == "." else words) + '"'
        tag = {"said": "said", "asked": "asked", "cried": "{cried|shouted|called}"}[kind]
        self.tell(quoted + " " + tag + " [" + who + "].", quoted + " [" + he + "] " + tag + ".",
                  ("[" + who + "] ") + tag + ', "' + words + '"')

    def ending(self):
        self.tell("From that day on, [hero] and [friend] were {best|good|the best of} friends.",
                  "[hero] and [friend] {laughed|smiled} and {walked|went} home together.",
                  "That night, [hero] {slept|fell asleep} with a {smile|happy heart}.",
                  "[hero] went home and told [his] [family] {all about it|everything}.",
                  "And [hero] was very [happy].", "[hero] {never forgot|always remembered} that [time].",
                  "They {played|sang|danced} together until {the sun went down|the stars came out|it was dark}.",
                  "[hero] felt very [happy], and so did [friend].")

    def moral(self, *lessons):
        if self.rng.random() < 0.45:
            self.tell(*("[hero] learned that " + x + "." for x in lessons),
                      *("Now [he] knew that " + x + "." for x in lessons))


def lost(t):
    t.opening()
    t.tell("[He] had a [color] [toy] that [he] {loved|liked} very much.", "[His] favorite thing was a [color] [toy].",
           "[His] [family] had given [him] a [color] [toy].")
    t.one_day("the [toy] was gone.")
    t.tell("[hero] looked [spot], but it was not there.", "[hero] looked [spot] and near the [place2], but [he] could not find it.",
           "[He] searched {everywhere|all over the house|near the [place2]}.")
    t.maybe(0.7, "[He] was very [sad].", "[He] {began|started} to cry.", "[He] {felt|was} [sad] and sat down.")
    t.meet()
    t.say("friend", "{Why are you so [sad]?|What is wrong?|Can I help you?}", "asked")
    t.say("hero", "{I lost my [toy].|I cannot find my [color] [toy].|My [toy] is gone.}")
    t.tell("{So|Together} they went to the [place] to look for it.", "They looked for it [at].",
           "[friend] said they should look [at].")
    t.where()
    t.tell("There it was, [spot2]!", "And there, [spot2], was the [color] [toy]!", "At last [friend] found the [toy] [spot2].")
    t.fact(["What did [hero] lose?", "What was lost?"], ["[hero] lost a [color] [toy].", "It was a [color] [toy]."], "[toy]")
    t.fact(["What color was the [toy]?"], ["The [toy] was [color].", "It was [color]."], "[color]")
    t.fact(["Where was the [toy]?", "Where did they find the [toy]?"], ["The [toy] was [spot2]."], "[spot2]")
    t.say("hero", "{Thank you, [friend]!|You found it!|I am so [happy]!}", "cried")
    t.moral("friends help each other", "it is good to ask for help", "it is easier to look together")
    t.ending()


def found(t):
    t.opening()
    t.one_day("[hero] {went|walked} to the [place].")
    t.where()
    t.tell("{There|In the grass|On the ground}, [he] saw something {shiny|small|strange}. It was a {old|pretty|tiny} [treasure].",
           "[He] found a {old|pretty|small} [treasure] [spot].", "{There|Near a stone|By the path} lay a {old|pretty|small} [treasure].")
    t.say("hero", "{Who lost this?|Whose [treasure] is this?|Who does this belong to?}", "asked")
    t.tell("[He] wanted to keep it, but [he] knew {that it was not [hers]|it belonged to someone}.",
           "It was so pretty that [he] wanted to keep it.", "[hero] {thought|wondered} for a long time.")
    t.tell("So [he] asked the [helper], but it was not the [helper]'s [treasure].",
           "First [he] asked the [helper]. The [helper] shook {his|her} head.", "[He] went to the [place2] to {ask|look for the owner}.")
    t.meet()
    t.say("friend", "{That is my [treasure]!|You found my [treasure]!|I lost it [at].}", "cried")
    t.tell("[hero] gave the [treasure] {back|to [friend]} {at once|with a smile}.", "[hero] smiled and gave it back.")
    t.tell("[friend] was so [happy] that [fhe] gave [hero] a [fruit].", "[friend] thanked [him] and gave [him] some [food].",
           "To thank [him], [friend] shared [fhis] [fruits] with [him].")
    t.fact(["What did [hero] find?", "What did [he] find?"], ["[hero] found a [treasure]."], "[treasure]")
    t.fact(["Who lost the [treasure]?", "Whose [treasure] was it?"], ["[friend] lost the [treasure].", "It was the [treasure] of [friend]."], "[friend]")
    t.moral("it is good to be honest", "giving something back feels better than keeping it", "honest people make friends")
    t.ending()


def rescue(t):
    t.opening()
    t.one_day("[hero] was walking {near|by} the [place].")
    t.fact(["Where was [hero] walking?", "Where was [hero]?"], ["[hero] was {near|by} the [place]."], "[place]")
    t.tell("[He] heard a {small|quiet|sad} {voice|sound}.", "Suddenly [he] heard {someone|something} cry.")
    problem, cure = t.rng.choice([
        ("was stuck in the mud", "pulled it out {very gently|with a rope|with a long stick}"),
        ("had fallen into a hole", "{used a rope|used a ladder|reached down} and lifted it out"),
        ("was cold and wet", "wrapped it in [his] [color] {scarf|coat|blanket}"),
        ("was hungry and weak", "gave it {some [food]|a [fruit]}"),
        ("had lost its mother", "{carried|took} it to the [place2], where its mother was waiting"),
        ("was caught in a net", "cut the net and set it free"),
        ("could not get down from a tree", "climbed up and brought it down")])
    t.tell("It was a [small] that " + problem + ".", "A {little|tiny} [small] " + problem + ".")
    t.say("hero", "{Do not be afraid.|I will help you.|Do not worry, little one.}")
    t.tell("[He] " + cure + ".", "[hero] " + cure + ".")
    t.tell("The [small] {looked|was} very [happy].", '"Thank you," said the [small]. "I will not forget this."',
           "The [small] {danced|jumped} {around|for joy}.")
    t.fact(["What did [hero] help?", "Who did [hero] help?", "Which animal needed help?"],
           ["[hero] helped a [small].", "[He] helped a [small]."], "[small]")
    t.fact(["What was wrong with the [small]?", "What happened to the [small]?"], ["The [small] " + problem + "."], problem.split()[-1])
    if t.rng.random() < 0.6:
        t.tell("{A few days|Some days|A week} later, [hero] got lost in the {fog|dark|snow|woods}.",
               "{Later|The next day}, [hero] could not find the way home.")
        t.tell("But the [small] {came and showed|showed} [him] the way.", "Then the [small] came and led [him] home.")
        t.moral("even a small friend can be a big help", "kindness always comes back", "no one is too small to help")
        t.tell("[hero] and the [small] {stayed|were} friends {forever|ever after|for a long time}.", "And [hero] was very [happy].")
    else:
        t.moral("it is good to help others", "a kind heart is never alone", "small deeds can be great")
        t.tell("[hero] {walked|went} home with a smile.", "From then on, the [small] {visited|came to see} [him] every [time].")


def share(t):
    t.opening()
    t.one_day("[his] [family] gave [hero] {a basket of [fruits]|some [food]|a bag of [fruits]}." if t.rng.random() < 0.5
              else "[hero] {made|cooked} some {warm|fresh|sweet} [food].")
    told_food = t.parts[-1]
    key = "[food]" if t.slots["food"] in told_food else "[fruits]"
    t.slots["meal"] = t.slot_text(key)
    t.tell("[He] {took|carried} it to the [place] to eat in the sun.", "[He] went to the [place] and sat down [spot].")
    t.where()
    t.meet()
    t.say("friend", "{I am so hungry.|That looks so good.|I have not eaten all day.}")
    t.tell("[hero] looked at the [meal]. [He] did not want to share.", "At first, [hero] did not want to share.",
           "[hero] held the [meal] close.", "[hero] thought about it.")
    t.tell("But [friend] looked so [sad] that [he] changed [his] mind.", "Then [he] saw how [sad] [friend] was.",
           "But [he] knew that it is no fun to eat alone.")
    t.say("hero", "{Come and eat with me.|Let us share.|You can have half of it.}")
    t.tell("They {sat down and ate|ate} the [meal] together.", "So they shared the [meal], and there was enough for both.")
    t.maybe(0.5, "It tasted {better than ever|wonderful|very good}.", "After that, they {played a game|told stories|sang a song}.")
    t.fact(["What did they {share|eat}?", "What did [hero] share?"], ["They shared the [meal].", "They ate the [meal]."], "[meal]")
    t.fact(["Who was hungry?"], ["[friend] was hungry."], "[friend]")
    t.moral("food tastes better with a friend", "sharing makes everyone happy", "there is always enough for two")
    t.ending()


def storm(t):
    t.opening()
    t.tell("One [time], [hero] and [his] friend [friend] went to the [place] to {play|fish|pick [fruits]|have a picnic}.",
           "[hero] and [friend] {wanted|planned} to {play|have a picnic} [at].")
    t.fact(["Where did [hero] and [friend] go?", "Where did they go?"], ["They went to the [place]."], "[place]")
    t.fact(["Who was with [hero]?", "Who went with [hero]?"], ["[friend] was with [hero]."], "[friend]")
    t.tell("Suddenly the sky {turned|became} {dark|gray}, and it {began|started} to rain.",
           "Then {big|black} clouds came, and a storm began.")
    t.say("friend", "{We will get wet!|I am afraid!|What shall we do?}", "cried")
    shelter = t.rng.choice(["a cave", "an old barn", "a hollow tree", "a small hut", "an empty mill"])
    t.slots["shelter"] = shelter
    t.tell("[hero] looked around and saw [shelter].", "Near the [place], [hero] {saw|found} [shelter].")
    t.say("hero", "{Follow me!|Come in here, quick!|Let us wait inside.}")
    t.tell("They {ran inside|went in} and waited. The {thunder|wind} was {very loud|so loud}.",
           "Inside it was {warm and dry|dark but dry}.")
    t.tell("To pass the time, they {told stories|sang songs|ate [fruits]|counted to one hundred}.",
           "[hero] held [friend]'s hand and {told [fhim] a story|sang a song}." if t.slots["friend_kind"] in ("girl", "boy") else
           "[hero] sat close to [friend] and {told [fhim] a story|sang a song}.")
    t.tell("When the rain stopped, {a rainbow stood over|the sun came out above} the [place2].",
           "At last the storm was over, and they saw a {big|bright|beautiful} rainbow.")
    t.fact(["Where did they hide?", "Where did they wait?"], ["They waited in [shelter]."], shelter.split()[-1])
    t.moral("a storm does not last forever", "after the rain comes the sun", "being together makes you brave")
    t.ending()


def plant(t):
    t.opening()
    t.one_day("[hero] found a {small|tiny|round|brown} seed [spot].")
    t.say("hero", "{What will it be?|I will plant it.|What a funny little thing!}")
    t.tell("[He] planted the seed [at].", "[He] dug a hole [at] and put the seed in.")
    t.fact(["Where did [hero] plant the seed?", "Where was the seed planted?"], ["[hero] planted it [at]."], "[place]")
    t.tell("Every {day|morning}, [he] gave it water.", "[He] gave it water every {day|morning} and {talked|sang} to it.")
    t.tell("But nothing {happened|came up}.", "For many days, nothing happened.", "Days went by, but there was only {earth|mud}.")
    t.meet()
    t.say("friend", "{Be patient.|Good things take time.|Just wait a little more.}")
    t.tell("So [hero] {waited|went on}. {Then|And then}, one {spring|warm|bright} {morning|day}, {a green leaf|a small green leaf} came up.",
           "[hero] did not give up, and one {morning|day} {a green leaf|something green} came out of the ground.")
    t.tell("It grew and grew until it was a {tall|beautiful|big} [plant].", "By summer, it was a {big|beautiful|tall} [plant].")
    t.fact(["What did the seed become?", "What grew from the seed?"], ["It became a [plant].", "A [plant] grew from it."], "[plant]")
    t.fact(["Who told [hero] to be patient?", "Who told [him] to wait?"], ["[friend] did."], "[friend]")
    t.moral("good things take time", "you must be patient", "a little care goes a long way")
    t.ending()


def learn(t):
    t.opening()
    t.tell("More than anything, [he] wanted to learn to [skill].", "[He] {wanted|wished} to [skill], but [he] did not know how.",
           "All [his] friends could [skill], but [hero] could not.")
    t.fact(["What did [hero] want to learn?", "What did [he] learn?"], ["[hero] wanted to learn to [skill]."], "[skill]")
    t.one_day("[he] went to the [place] to {try|practice}.")
    t.where()
    t.tell("The first time, [he] {fell down|failed}. {The second time|Then} [he] {fell down|failed} again.",
           "[He] tried and tried, but it did not work.", "It was {very hard|harder than [he] thought}.")
    t.say("hero", "{I will never learn it.|I cannot do it.|This is too hard!}")
    t.meet()
    t.say("friend", "{I can teach you.|Try it again, but slowly.|Let me show you how.|I needed a long time, too.}")
    t.tell("[friend] showed [him] how to do it, {step by step|slowly|again and again}.",
           "Every {day|[time]}, they practiced together [at].")
    t.tell("{After a week|Some days later|At last}, [hero] could [skill] {all by [himself]|very well|like a star}!",
           "And one day, it worked! [hero] could [skill].")
    t.say("hero", "{Look, I can do it!|I did it!|Look at me!}", "cried")
    t.fact(["Who {taught|helped} [hero]?"], ["[friend] {taught|helped} [hero].", "[friend] did."], "[friend]")
    t.moral("you must never give up", "everything is hard before it is easy", "practice helps")
    t.ending()


def night(t):
    t.opening()
    t.tell("[hero] was afraid of {the dark|loud noises|the night}.", "[He] did not like the dark.")
    t.tell("One {cold|dark|windy|quiet} night, [he] heard a {strange|loud|soft} noise [spot].",
           "One night, a {strange|scary|soft} noise came from outside.")
    t.say("hero", "{Who is there?|What was that?|Is it a monster?}", "asked")
    t.tell("No one answered.", "There was no answer.", "The noise came again.")
    t.tell("[hero] took a {lamp|candle|stick|[color] lamp} and {went|tiptoed} to look.",
           "[He] called [his] [family], and they went to look together.", "[He] was afraid, but [he] got up {anyway|slowly}.")
    t.tell("There was no monster. It was only a {little|tiny|small} [small]!", "[spot2] sat a {little|tiny} [small].",
           "It was only a {hungry|cold|lost} little [small].")
    t.fact(["What made the noise?", "What was it?"], ["It was a [small].", "A [small] made the noise."], "[small]")
    t.fact(["When did [hero] hear the noise?"], ["[hero] heard it at night."], "night")
    t.tell("It was {looking for food|more afraid than [hero]|cold and lost}.", "The [small] was shaking.")
    t.tell("[hero] laughed and gave it some [food].", "[He] gave it a warm {bed|place to sleep}.", "[hero] let it sleep in a basket.")
    t.moral("the dark is not so bad", "many scary things are only small", "being brave means trying even when you are afraid")
    t.tell("After that night, [hero] was not afraid {anymore|of the dark anymore}.", "From then on, [he] {slept well|was never afraid at night}.",
           "And [hero] and the [small] slept until morning.")


def gift(t):
    t.opening()
    t.tell("It was the birthday of [his] friend [friend]. [hero] wanted to give [fhim] {something special|a present}.",
           "Soon it would be [friend]'s birthday, and [hero] {had|needed} no present.")
    t.fact(["Whose birthday was it?", "Who had a birthday?"], ["It was [friend]'s birthday.", "It was the birthday of [friend]."], "[friend]")
    t.tell("[He] had no money, so [he] made a [color] [toy].", "So [he] {made|painted} a [toy]. It was [color].",
           "With the help of the [helper], [he] made a {beautiful|fine} [color] [toy].")
    t.fact(["What did [hero] make?", "What was the present?"], ["[hero] made a [color] [toy].", "It was a [color] [toy]."], "[toy]")
    t.fact(["What color was the [toy]?"], ["The [toy] was [color].", "It was [color]."], "[color]")
    t.tell("But on the way to {the party|[friend]'s house}, [he] {fell|slipped} and the [toy] {broke|fell into the mud}.",
           "On the way, {the wind took it away|it fell into the water}, and it got dirty.")
    t.maybe(0.8, "[hero] was so [sad] that [he] almost went home.", "[He] {began|started} to cry.", "[hero] did not know what to do.")
    t.tell("[He] {fixed|cleaned|mended} it as well as [he] could.", "The [helper] {saw it and helped|helped} [him] to fix it.")
    t.tell("When [friend] opened the {box|present}, [fhe] {smiled|jumped for joy}.", "[friend] opened the present and {smiled|laughed}.")
    t.say("friend", "{It is the best present of all!|You made it for me?|I love it!}")
    t.tell("Then they all ate [food] and {danced|sang|played}.", "There was [food] for everyone.", "After that, they played {games|music} until late.")
    t.moral("a gift from the heart is the best gift", "it is the thought that counts", "a present does not have to be perfect")
    t.ending()


def treasure(t):
    t.opening()
    t.one_day("[hero] found an old map [spot].")
    t.fact(["What did [hero] find {first|at the beginning}?", "What did [hero] find [spot]?"], ["[hero] found an old map."], "map")
    t.say("hero", "{A treasure map!|Where does it lead?|I want to find the treasure.}", "cried" if t.rng.random() < 0.3 else "said")
    t.tell("[He] showed it to [his] friend [friend], and {they left at once|together they set out}.")
    t.fact(["Who went with [hero]?", "Who was [hero]'s friend?"], ["[friend] went with [hero].", "It was [friend]."], "[friend]")
    t.tell("First they {walked|went} {to|past} the [place2]. Then they came to the [place].",
           "They went past the [place2] and over the {hills|fields} until they {reached|came to} the [place].")
    t.tell("There was a big stone, just as on the map.", "There they saw {a tall tree|an old tower}, just like on the map.")
    t.tell("They {dug|looked} {until their hands hurt|for a long time|all [time]}.", "[friend] began to dig.")
    t.tell("At last they found a box. In the box was a {old|shiny|pretty} [treasure].",
           "Deep in the ground was a [color] box with a {old|shiny|pretty} [treasure] inside.")
    t.fact(["What was in the box?", "What was inside the box?"], ["There was a [treasure] in the box.", "In the box was a [treasure]."], "[treasure]")
    t.fact(["Where was the treasure?", "Where did they find the box?"], ["It was [at]."], "[place]")
    t.say("friend", "{It is beautiful!|We found it!|What shall we do with it?}", "cried" if t.rng.random() < 0.5 else "said")
    t.tell("They gave the [treasure] to the [helper].", "They {kept|hid} it in a safe place.", "[hero] and [friend] took turns keeping it.",
           "They brought it to the [helper], who {smiled|thanked them}.")
    t.moral("the best part of a journey is a friend", "friends are the real treasure", "looking closely pays off")
    t.ending()


def race(t):
    t.opening()
    game = t.rng.choice(["race", "contest", "game"])
    t.slots["game"] = game
    t.tell("One [weather] [time], there was a big [game] [at].", "Every year, there was a [game] [at].")
    t.fact(["Where was the [game]?"], ["The [game] was [at]."], "[place]")
    t.tell("The prize was a [color] [toy].", "The winner would get a [color] [toy].")
    t.fact(["What was the prize?", "What would the winner get?"], ["The prize was a [color] [toy]."], "[toy]")
    t.tell("[hero] wanted to win, and so did a [friend_kind] named [friend].", "A [friend_kind] named [friend] wanted to win, too.")
    t.say("friend", "{I am the fastest!|I will win!|You cannot beat me.}")
    t.tell("[hero] {said nothing|only smiled} and {did [his] best|got ready}.", "[hero] was not so sure.")
    t.tell("When the bell rang, they {all started|began}. [friend] was {far ahead|very fast}.", "At first, [friend] was ahead.")
    if t.rng.random() < 0.5:
        t.tell("But then [friend] {fell and hurt [fhis] leg|stopped to rest|fell into the mud}.")
        t.tell("[hero] could have won, but [he] stopped to help.", "[hero] turned back to help [fhim].")
        t.tell("They {crossed the line|came to the end} together, and everyone {clapped|cheered}.", "So both were last, but everyone {clapped|cheered} for them.")
        t.fact(["Who stopped to help?", "Who helped [friend]?"], ["[hero] stopped to help.", "[hero] helped [friend]."], "[hero]")
        t.moral("helping is better than winning", "a friend is worth more than a prize")
    else:
        t.tell("But [hero] did not give up, and in the end [he] won!", "Slowly and steadily, [hero] came closer, and [he] won.")
        t.fact(["Who won the [game]?", "Who won?"], ["[hero] won.", "[hero] won the [game]."], "[hero]")
        t.tell("[friend] was sad, so [hero] shared the [toy] with [fhim].", '"Well done," said [friend] and {laughed|smiled}.')
    
        t.moral("you must never give up", "it is good to be a kind winner")
    t.ending()


def warning(t):
    t.opening()
    danger, trouble = t.rng.choice([("go into the cave", "could not find the way out"), ("climb the tall tree", "could not get down"),
                                    ("swim in the deep lake", "got tired and called for help"),
                                    ("play near the well", "slipped and hurt [his] leg"),
                                    ("walk on the ice", "heard the ice crack"), ("cross the old bridge", "fell into the cold water"),
                                    ("go into the woods alone", "got lost in the dark")])
    t.slots["danger"] = danger
    t.tell('"Never [danger]," said [his] [family].', "[His] [family] always said, \"Do not [danger].\"")
    t.fact(["What did the [family] say?", "What should [hero] not do?", "What was [hero] told not to do?"],
           ["[hero] should not [danger]."], "[danger]")
    t.fact(["Who warned [hero]?", "Who told [hero] not to do it?"], ["[His] [family] did.", "[His] [family] warned [him]."], "[family]")
    t.one_day("[hero] {forgot this|wanted to see it for [himself]|was bored}. [He] did it anyway.")
    t.tell("At first it was fun, but then [hero] " + trouble + ".", "But soon [he] " + trouble + ".")
    t.say("hero", "{Help!|Help me!|Is anyone there?}", "cried")
    t.tell("{Luckily|By luck}, a [friend_kind] named [friend] heard [him].", "A [friend_kind] named [friend] was near and heard [him].")
    t.fact(["Who {helped|saved} [hero]?", "Who heard [hero]?"], ["[friend] {helped|saved} [hero]."], "[friend]")
    t.tell("[friend] {came at once|ran to [him]} and {helped [him]|brought [him] home}.", "[friend] threw [him] a rope and {pulled|brought} [him] to safety.")
    t.tell("[His] [family] was not angry, only {glad|happy} to see [him].", "At home, [his] [family] {hugged|held} [him] for a long time.")
    t.say("hero", "{I am sorry.|I will never do it again.|I should have listened.}")
    t.moral("it is good to listen", "some rules keep us safe", "it is wise to listen to others")
    t.maybe(0.6, "And [he] kept [his] {word|promise}.", "And [hero] and [friend] became friends.")


def wish(t):
    t.opening()
    t.one_day("[hero] was sitting [at] when a {golden|silver|talking} {fish|bird} {came|appeared}.")
    creature = "fish" if " fish " in t.parts[-1] else "bird"
    t.slots["creature"] = creature
    t.fact(["Where was [hero] sitting?", "Where was [hero]?"], ["[hero] was sitting [at]."], "[place]")
    t.tell('"I can give you one wish," {it said|said the [creature]}. "What do you want?"', 'It said, "You have one wish."')
    t.tell("[hero] thought of a [color] [toy].", "[hero] thought of a mountain of [food].", "[hero] thought of {gold|a big house|a crown}.")
    t.tell("But then [he] saw [his] friend [friend], who was {ill|very [sad]|old and tired}.", "Then [he] thought of [friend], who was {ill|very [sad]}.")
    t.fact(["Who was [hero]'s friend?", "Who did [hero] think of?"], ["It was [friend].", "[hero] thought of [friend]."], "[friend]")
    t.say("hero", "{Please make [friend] happy again.|I wish that [friend] is well again.|My wish is for [friend].}")
    t.tell("The [creature] {smiled|nodded}. \"You have a good heart,\" it said, and it was gone.", "\"That is a good wish,\" said the [creature] and {flew|went} away."
           if creature == "bird" else "\"That is a good wish,\" said the [creature] and swam away.")
    t.tell("The next {morning|day}, [friend] {came running|stood at the door}, {happy and well|laughing}.", "And at once [friend] began to {smile|laugh|dance}.")
    t.fact(["How many wishes did [hero] have?"], ["[hero] had one wish."], "one")
    t.fact(["What gave [hero] a wish?", "Which animal gave [him] a wish?"], ["It was a [creature].", "A [creature] gave [him] a wish."], "[creature]")
    t.moral("it is better to give than to take", "the best wish is for someone else")
    t.ending()


def build(t):
    t.opening()
    thing = t.rng.choice(["boat", "kite", "tower", "house", "bridge", "wagon", "swing"])
    t.slots["thing"] = thing
    t.one_day("[hero] {wanted|decided} to build a [thing].")
    t.fact(["What did [hero] build?", "What did [hero] want to build?"], ["[hero] built a [thing]." , "It was a [thing]."], "[thing]")
    t.tell("[He] got some {wood|sticks|paper} and {began|started} to work [at].", "[He] worked [at] all [time].")
    t.fact(["Where did [hero] work?", "Where did [hero] build it?"], ["[hero] worked [at]."], "[place]")
    t.tell("But a strong wind came and broke it.", "But the first [thing] fell apart.", "When it was almost done, it fell down with a {loud noise|crash}.")
    t.maybe(0.6, "[hero] was [sad] and wanted to give up.", "[hero] sat down and {sighed|cried}.")
    t.meet()
    t.say("friend", "{Let us build it again.|Two can build better than one.|I know how to make it strong.}")
    t.tell("[friend] {brought|found} {rope|nails|better wood}, and they began again.", "So they worked together, {side by side|from morning to evening}.")
    t.tell("This time, the [thing] was {strong|perfect}. They painted it [color].", "Soon the new [thing] was done. It was [color] and {very strong|beautiful}.")
    t.fact(["What color was the [thing]?"], ["The [thing] was [color].", "It was [color]."], "[color]")
    t.fact(["Who helped [hero]?", "Who helped to build the [thing]?"], ["[friend] helped [hero].", "[friend] did."], "[friend]")
    t.moral("two can do more than one", "it is fine to start again", "good work takes time")
    t.ending()


def trade(t):
    t.opening()
    toys = t.rng.sample(w.TOYS, 3)
    t.slots.update(first=toys[0], second=toys[1], third=toys[2])
    t.one_day("[hero] went to the [place] with a {old|[color]} [first].")
    t.where()
    t.tell("A [helper] liked it and gave [him] a {new|pretty|fine} [second] for it.", "There [he] met a [helper] and traded the [first] for a [second].")
    t.tell("A little later, [he] met a [friend_kind] named [friend].", "On the way home, a [friend_kind] named [friend] stopped [him].")
    t.say("friend", "{What a nice [second]!|I need a [second].|Will you trade with me?}")
    t.tell("[friend] had only a {small|old} [third], but [fhe] needed the [second] very much.", "[friend] had nothing but a {small|old} [third].")
    t.tell("[hero] {smiled|thought for a moment} and traded the [second] for the [third].", "So they traded, and now [hero] had a [third].")
    t.fact(["What did [hero] have at the beginning?", "What did [hero] take to the [place]?"], ["[hero] had a [first]."], "[first]")
    t.fact(["What did [hero] have in the end?", "What did [friend] give [hero]?"], ["[hero] had a [third]." ], "[third]")
    t.fact(["What did the [helper] give [hero]?"], ["The [helper] gave [him] a [second]."], "[second]")
    t.fact(["Who traded with [hero]{| at the end}?", "Who needed the [second]?"], ["[friend] did."], "[friend]")
    t.say("hero", "{It was a good trade.|I made a friend, and that is the best trade.|Now we are both happy.}")
    t.moral("a thing is worth most to those who need it", "making a friend is the best trade")
    t.ending()


def newcomer(t):
    t.opening()
    t.tell("[hero] was new in the {village|town|valley} and {knew no one|had no friends yet}.", "[hero] had no one to play with, and [he] felt [sad].")
    t.one_day("[he] {sat|was} alone [at] with a [color] [toy].")
    t.fact(["Where was [hero]?", "Where did [hero] sit?"], ["[hero] was [at]."], "[place]")
    t.fact(["What did [hero] have?"], ["[hero] had a [color] [toy]."], "[toy]")
    t.fact(["What color was the [toy]?"], ["The [toy] was [color].", "It was [color]."], "[color]")
    t.meet()
    t.say("friend", "{May I play with you?|What is your name?|I like your [toy].}", "said")
    t.tell("[hero] was shy, but [he] {smiled|nodded}.", "At first, [hero] did not dare to {speak|answer}.")
    t.say("hero", "{My name is [hero].|Do you want to play?|You can have it for a while.}")
    t.tell("They played {all [time]|with the [toy]|until it was dark}.", "They {ran|played} to the [place2] and back.", "[friend] showed [him] the [place2].")
    t.tell("The next {day|morning}, [friend] {came back|came again} with {some [food]|more friends|[fruits]}.", "\"See you tomorrow,\" said [friend].")
    t.moral("a smile can start a friendship", "new places bring new friends", "you only need to say hello")
    t.tell("[hero] was not [sad] anymore.", "From that day on, [hero] was never alone.", "And [hero] and [friend] were friends from then on.")


PLOTS = [lost, found, rescue, share, storm, plant, learn, night, gift, treasure, race, warning, wish, build, trade, newcomer]

