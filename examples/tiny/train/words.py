"""Word lists of the corpus. Everything here was written for this model; no outside text is used."""

GIRLS = """Mia Lily Anna Ella Rosa Nora Zoe Clara Emma Ruby Ivy Lucy Sara Hazel Maya Tess Amy Grace Olive Ada""".split()
BOYS = """Tom Ben Leo Max Sam Finn Jack Oscar Theo Noah Eli Hugo Adam Luke Milo Peter Felix Owen Ray Dan""".split()
PETS = """Pip Rusty Bobo Dot Momo Tiko Fern Nutty Sunny Pebble Bibi Kip Waffle Juno Button Moss Lulu Coco Otto Gus""".split()

# Animals that can be the hero or a friend in a story.
ANIMALS = """fox rabbit bear mouse squirrel hedgehog owl duck frog turtle cat dog pony goat lamb otter badger
beaver deer penguin""".split()
# Small animals that need help.
SMALL = ["kitten", "puppy", "bird", "duckling", "bee", "snail", "butterfly", "chick", "beetle", "ladybug"]

TRAITS = """kind brave curious shy clever quiet cheerful gentle funny patient careful friendly polite playful
thoughtful honest""".split()
SIZES = ["little", "small", "young", "tiny"]

# Where one can go, with the preposition of being there.
PLACES = {"forest": "in", "garden": "in", "park": "in", "beach": "on", "river": "by", "lake": "by", "meadow": "in",
          "village": "in", "market": "at", "hill": "on", "farm": "on", "school": "at", "library": "in", "bridge": "on",
          "pond": "by", "castle": "in", "harbor": "in", "mill": "at", "field": "in", "orchard": "in", "cave": "in",
          "valley": "in"}
FERTILE = ["forest", "garden", "park", "meadow", "farm", "field", "orchard", "valley"]
HOMES = ["a little house by the {river|forest|sea|road|hill}", "a small village", "a quiet valley", "a cozy cottage",
         "a busy town", "a house with a red door", "a green valley", "a house near the woods"]
SPOTS = ["under the bed", "behind the door", "under a big tree", "in a basket", "behind a rock", "in the tall grass",
         "under a bench", "in an old box", "on top of a wall", "next to the well", "under a pile of leaves",
         "behind the barn", "in a hollow log", "beside the path", "in the kitchen"]

COLORS = ["red", "blue", "green", "yellow", "white", "purple", "orange", "pink", "brown", "golden"]
TOYS = ["ball", "kite", "hat", "scarf", "drum", "boat", "doll", "book", "bell", "button", "ribbon", "lamp", "cup", "coat",
        "flute", "box", "blanket", "basket", "umbrella", "wagon"]
TREASURES = ["key", "ring", "coin", "map", "letter", "feather", "shell", "stone", "bottle", "watch", "crown", "whistle"]
FOODS = ["bread", "soup", "honey", "cheese", "pie", "cake", "jam", "rice", "porridge", "salad"]
FRUITS = ["apple", "pear", "plum", "peach", "cherry", "berry", "nut", "carrot", "cookie", "pancake"]
PLURALS = {"peach": "peaches", "cherry": "cherries", "berry": "berries"}
PLANTS = ["sunflower", "apple tree", "pumpkin", "rose", "bean plant", "cherry tree", "tulip", "tomato plant"]
SKILLS = ["swim", "whistle", "dance", "skate", "climb", "sing", "juggle", "paint", "bake", "fish", "row a boat",
          "ride a bike", "play the drum", "fly a kite", "tie a knot"]
FAMILY = ["mother", "father", "grandmother", "grandfather", "aunt", "uncle", "sister", "brother"]
HELPERS = ["baker", "farmer", "teacher", "sailor", "gardener", "miller", "fisherman", "shepherd", "tailor", "carpenter"]

WEATHER = {"sunny": "the sun was shining", "rainy": "it was raining", "windy": "the wind was blowing",
           "snowy": "snow was falling", "cloudy": "the sky was full of clouds", "foggy": "fog lay over the land",
           "warm": "the air was warm", "cold": "the air was cold"}
TIMES = ["morning", "afternoon", "day", "evening"]
HAPPY = ["happy", "glad", "proud", "cheerful", "thankful"]
SAD = ["sad", "upset", "worried", "lonely"]


def plural(noun):
    return PLURALS.get(noun, noun + "s")
