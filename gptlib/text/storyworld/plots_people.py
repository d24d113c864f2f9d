"""Plots about people: promises, sharing, friendship, presents, and getting lost in a crowd."""

from __future__ import annotations

from gptlib.text.storyworld.grammar import Let
from gptlib.text.storyworld.scenes import (
    INTRODUCTION,
    SIGHTS,
    Break,
    Fact,
    either,
    happy,
    maybe,
    question,
    say,
    unhappy,
)
from gptlib.text.storyworld.words import difference

PROMISE = (
    INTRODUCTION,
    say(
        "{friend}生病在家，{hero}来看{friend.she}。",
        "{friend} was ill in bed, and {hero} came to visit.",
        "When {friend} had a fever, {hero} sat beside the bed.",
        "{hero} went to see {friend}, who had hurt {friend.hers} foot and could not walk.",
    ),
    say(
        "“我想要一{treasure.m}从{place}来的{color}的{treasure}，”{friend}说。",
        '"I wish I had {color.a} {treasure} from the {place}," said {friend}.',
        '"If only I could go to the {place} and look for {color.a} {treasure}," {friend} said.',
        '{friend} sighed. "In the {place} there is {color.a} {treasure}, and I cannot go."',
    ),
    say(
        "“我{weekday}给你带来，”{hero}答应说。",
        '"I will bring it to you on {weekday}," {hero} promised.',
        '"You will have it on {weekday}. I promise," said {hero}.',
        '{hero} put a hand on {hero.hers} heart. "On {weekday}. That is a promise."',
    ),
    Fact("{hero}", "promised", "the {treasure}"),
    SIGHTS,
    Break(),
    say(
        "路上，{hero}遇见了{third}。“来玩{toy}吧！”{third}说。",
        'On the way {hero} met {third}. "Come and play with my {toy}!" said {third}.',
        '{third} was outside with {toy.a}. "Stay and play, {hero}!" {third.she} called.',
        'But {third} had a new {toy} and shouted, "{hero}, come and try it!"',
    ),
    either(
        happy(
            say(
                "{hero}很想玩，可是{hero.she}想起了{friend}。“明天吧，”{hero.she}说。",
                '{hero} wanted to, very much. Then {hero.she} thought of {friend}. "Tomorrow," {hero.she} said.',
                'It was hard to say no. "I gave my word to {friend}," said {hero}, and walked on.',
                '"I cannot," said {hero}. "{friend} is waiting." And {hero.she} went on.',
            ),
            say(
                "{hero}找了很久，终于找到了那{treasure.m}{color}的{treasure}。",
                "{hero.She} looked for a long time, and there it was, the {color} {treasure}.",
                "It took the whole {daytime}, but {hero.she} found the {color} {treasure}.",
                "{hero.Hers} shoes were wet before {hero.she} saw the {color} {treasure} at last.",
            ),
            say(
                "{weekday}，{friend}打开手掌，看见了它，很{glad}。",
                "On {weekday} {friend} opened {friend.hers} hand, saw it and was {glad}.",
                'When {weekday} came, {friend} held it tight. "You did not forget," {friend.she} said, {glad}.',
                "On {weekday} it lay beside the bed, and {friend} was {glad}, because {hero} had kept {hero.hers} promise.",
            ),
            Fact("{friend}", "has", "the {treasure}"),
            summary="{hero} promises {friend} a {treasure} and keeps the promise.",
        ),
        unhappy(
            say(
                "{hero}玩啊玩，忘了自己的诺言。",
                "{hero} played and played, and the promise slipped out of {hero.hers} mind.",
                '"Only for a minute," thought {hero}. But one minute became the whole day.',
                "So {hero} stayed, and {hero.she} did not think of {friend} again.",
            ),
            say(
                "{weekday}，{friend}等在窗边，可是没有人来。",
                "On {weekday} {friend} waited at the window, and nobody came.",
                "{weekday} came and went. {friend} listened for steps on the stairs and heard none.",
                "All of {weekday} {friend} watched the door.",
            ),
            maybe(
                say(
                    "“对不起，”后来{hero}说。{friend}没有回答。",
                    '"I am sorry," {hero} said later. {friend} did not answer.',
                    'Later {hero} said, "I forgot." {friend} turned to the wall.',
                )
            ),
            Fact("{friend}", "has", "nothing"),
            summary="{hero} promises {friend} a {treasure} and forgets it.",
        ),
        probabilities=(0.65, 0.35),
    ),
    question("What did {hero} promise to bring?", "the {color} {treasure}"),
    question("When was {hero} to bring it?", "{weekday}"),
    question("Who wanted {hero} to play?", "{third}"),
)

SHARING = (
    INTRODUCTION,
    say(
        "{hero.she}的{kin}给了{hero}{count.m}{food.m}{food}。",
        "{hero}'s {kin} gave {hero.her} {count} {food.s} in a bag.",
        "There were {count} {food.s} in the bag that {hero} got from {hero.hers} {kin}.",
        '"Here are {count} {food.s}," said {hero}\'s {kin}. "Do not eat them all at once."',
        "{hero} had {count} {food.s}, a present from {hero.hers} {kin}.",
    ),
    say(
        "{place.at}，{hero}看见{friend}一个人坐着，很{sad}。",
        "{hero.She} went out and saw {friend} {place.at}, all alone and {sad}.",
        "{friend} was sitting {place.at} and looked {sad}.",
        "On the way {hero.she} met {friend} {place.at}. {friend.She} was {sad}.",
    ),
    say(
        "“我的午饭丢了，”{friend}说。",
        '"I lost my lunch," said {friend}.',
        '"Somebody took my lunch," {friend} said.',
        '"I am so hungry," said {friend}. "I had no breakfast."',
    ),
    SIGHTS,
    Break(),
    either(
        happy(
            say(
                "{hero}把{given.m}{food.m}{food}给了{friend}。",
                '"Take these," said {hero}, and gave {friend} {given} of the {food.s}.',
                "{hero} opened the bag and handed {given} {food.s} to {friend}.",
                "Without a word {hero} put {given} {food.s} into {friend.hers} hands.",
            ),
            Let("left", difference("count", "given")),
            say(
                "现在{hero}还有{left.m}{food.m}，{friend}很{glad}。",
                "Now {hero} had {left} left, and {friend} was {glad}.",
                "That left {left} for {hero}. {friend} was {glad} and ate with both cheeks full.",
                "{left.N} were still in the bag, and {friend} was {glad}, because somebody had seen {friend.her}.",
            ),
            maybe(
                say(
                    "第二天，{friend}给{hero}带来了一{treasure.m}{color}的{treasure}。",
                    "The next day {friend} brought {hero} {color.a} {treasure}.",
                    'The next day {friend} came with {color.a} {treasure}. "For you," {friend.she} said.',
                ),
                Fact("{hero}", "got", "the {treasure}"),
            ),
            Fact("{hero}", "has", "{left} {food.s}"),
            Fact("{friend}", "got", "{given} {food.s}"),
            question("How many {food.s} did {hero} have left?", "{left}"),
            summary="{hero} has {count} {food.s} and gives {given} of them to {friend}.",
        ),
        unhappy(
            say(
                "可是{hero}把袋子藏在身后，走开了。",
                "But {hero} held the bag behind {hero.hers} back and walked away.",
                '"These are mine," said {hero}, and went on.',
                "{hero} looked at {friend}, looked at the bag, and said nothing.",
            ),
            say(
                "{hero}一个人吃了{count.m}{food.m}，肚子疼了起来。",
                "{hero.She} ate all {count} {food.s} alone, and {hero.hers} stomach hurt.",
                "Alone, {hero.she} ate one after another until all {count} were gone, and then {hero.she} felt sick.",
            ),
            Fact("{hero}", "has", "no {food.s}"),
            Fact("{friend}", "got", "nothing"),
            question("How many {food.s} did {hero} eat?", "{count}"),
            summary="{hero} has {count} {food.s} and gives none of them to {friend}.",
        ),
        probabilities=(0.75, 0.25),
    ),
    question("How many {food.s} did {hero} have at first?", "{count}"),
    question("Where was {friend}?", "{place.at}"),
)

NEW_FRIEND = (
    say(
        "{hero}是个{trait}的{hero.girl}，刚搬到一个新镇子。",
        "{hero} was {trait.a} {hero.girl} who had just moved to a new town.",
        "In {weather} weather {hero}, {trait.a} {hero.girl}, came to live in a new town.",
        "Nobody in the new town knew {hero}, and {hero.she} was {trait.a} {hero.girl}.",
        "The town was new to {hero}, {trait.a} {hero.girl} from far away.",
    ),
    say(
        "{weekday}，{hero.she}穿着{color}的{clothing}去{place}。",
        "On {weekday} {hero.she} took {hero.hers} {color} {clothing} and went to the {place}.",
        "On {weekday} {hero.she} sat {place.at} with {hero.hers} {color} {clothing} and watched the others play.",
        "With {hero.hers} {color} {clothing} {hero.she} walked to the {place} on {weekday}, all alone.",
    ),
    Fact("{hero}", "has", "the {color} {clothing}"),
    say(
        "没有人跟{hero.she}说话，{hero.she}觉得很{sad}。",
        "Nobody spoke to {hero.her}, and {hero.she} felt {sad}.",
        "The other children ran past. {hero} felt {sad}.",
        "{hero.She} felt {sad}, because everybody had a friend and {hero.she} had none.",
    ),
    Break(),
    either(
        happy(
            say(
                "这时{friend}走了过来，{friend.she}也有一{clothing.m}{color}的{clothing}。",
                "Then {friend} came up to {hero.her}, and {friend} had {color.a} {clothing} too.",
                'A voice said, "We match!" It was {friend}, who also had {color.a} {clothing}.',
                'Just then {friend} stopped. "Look, my {clothing} is {color} as well!"',
            ),
            maybe(
                say(
                    "“我喜欢{color}，”{friend}说。“我也是！”{hero}说。",
                    '"I like {color} best," said {friend}. "So do I!" said {hero}.',
                    '"Is {color} your favorite?" {friend} asked, and {hero} nodded.',
                )
            ),
            say(
                "{friend}拿出一{toy.m}{color2}的{toy}，他们一起玩到天黑。",
                "{friend} had {color2.a} {toy}, and they played with it until dark.",
                "They shared {food.a}, and then they played with {friend}'s {color2} {toy} until dark.",
                'From {friend.hers} bag {friend} took {color2.a} {toy}. "Want to play?" They played until dark.',
            ),
            say(
                "“明天见，{hero}！”{friend}说。{hero}很{glad}，因为{hero.she}有了一个朋友。",
                '"See you tomorrow, {hero}!" said {friend}. {hero} was {glad}, because now {hero.she} had a friend.',
                '"Same place tomorrow, {hero}?" {friend} asked. {hero} was too {glad} to speak.',
                'When they parted, {friend} said, "You are my friend now, {hero}." How {glad} {hero} was!',
            ),
            Fact("{hero}", "is a friend of", "{friend}"),
            question("What color was {friend}'s {toy}?", "{color2}"),
            summary="{hero} is new in town and finds a friend, {friend}.",
        ),
        unhappy(
            say(
                "{friend}指着{clothing}笑了起来。",
                "{friend} pointed at the {clothing} and laughed.",
                '"What an ugly {clothing}!" said {friend}, and the others laughed.',
                "{friend} whispered something about the {clothing}, and everyone giggled.",
            ),
            say(
                "{hero}跑回家，把{clothing}扔在{spot}。",
                "{hero} ran home and threw the {clothing} down {spot}.",
                "{hero} hid the {clothing} {spot} and said that {hero.she} would never go back.",
            ),
            say(
                "“明天会好的，”{hero.she}的{kin}说。",
                '"Tomorrow will be better," said {hero.hers} {kin}.',
                '{hero.Hers} {kin} sat down beside {hero.her} and said, "I think it is beautiful."',
            ),
            Fact("the {clothing}", "is", "{spot}"),
            question("Where did {hero} put the {clothing}?", "{spot}"),
            summary="{hero} is new in town, and {friend} laughs at {hero.hers} {clothing}.",
        ),
        probabilities=(0.75, 0.25),
    ),
    question("What color was {hero}'s {clothing}?", "{color}"),
    question("Where did {hero} go on {weekday}?", "to the {place}"),
)

PRESENT = (
    INTRODUCTION,
    say(
        "{weekday}是{hero.she}的{kin}的生日，可是{hero}没有钱。",
        "On {weekday} it was the birthday of {hero}'s {kin}, but {hero} had no money.",
        "{hero}'s {kin} had a birthday on {weekday}, and {hero} could not buy a present.",
        '"Your {kin} has a birthday on {weekday}," somebody told {hero}, who had not one penny.',
    ),
    say(
        "于是{hero}{place.at}偷偷做了一{garment.m}{color}的{garment}，上面缝着一{treasure.m}{treasure}。",
        "So {hero.she} made {color.a} {garment} in secret, {place.at}, and sewed {treasure.a} on it.",
        "In secret, {place.at}, {hero.she} knitted {color.a} {garment} and fixed {treasure.a} to the front.",
        "Day after day {hero.she} sat {place.at} and worked on {color.a} {garment} with {treasure.a} sewn on.",
    ),
    Fact("the {garment}", "color", "{color}"),
    say(
        "{hero.she}把它藏在{spot}。",
        "When it was done, {hero.she} hid it {spot}.",
        "It was safe {spot}, or so {hero.she} thought.",
        "{hero.She} put it {spot}, so that nobody would see it.",
    ),
    SIGHTS,
    Break(),
    maybe(
        say(
            "“你在做什么？”{friend}问。“这是秘密，”{hero}说。",
            '"What are you making?" asked {friend}. "A secret," said {hero}.',
            'Only {friend} knew. "I will not tell," {friend.she} said.',
        )
    ),
    either(
        happy(
            say(
                "{weekday}，{hero}跑到{spot}，把它拿了出来。",
                "On {weekday} {hero} ran to fetch it. It was still {spot}.",
                "On {weekday} {hero} took out what {hero.she} had hidden {spot}.",
                "When everyone had sung on {weekday}, {hero} brought it out. It had been {spot} all the time.",
            ),
            say(
                "{kin}穿上了{garment}，{glad}得流下了眼泪。",
                "{hero.Hers} {kin} tried the {color} {garment} at once and was so {glad} that {kin.she} cried.",
                '"Just what I like best!" said {hero.hers} {kin}, {glad} as could be.',
                '"You made this {garment} yourself?" asked {hero.hers} {kin}, who was {glad} and would not take it off.',
            ),
            Fact("the {kin}", "has", "the {garment}"),
            summary="{hero} makes {color.a} {garment} for {hero.hers} {kin}'s birthday.",
        ),
        unhappy(
            say(
                "{weekday}，{hero}去{spot}拿，可是{animal}已经把它咬坏了。",
                "On {weekday} {hero} went to get it, but {animal.a} had been {spot} and chewed it to pieces.",
                "On {weekday} there were only threads {spot}. The {animal} had found it first.",
            ),
            say(
                "{kin}抱住{hero}说：“我知道你爱我。”",
                '{hero.Hers} {kin} held {hero.her} and said, "I know what you wanted to give me."',
                '"It was a fine {garment}," said {hero} in tears, and {hero.hers} {kin} dried them.',
            ),
            Fact("the {garment}", "is", "ruined"),
            summary="{hero} makes {color.a} {garment} for {hero.hers} {kin}, but it is chewed up.",
        ),
        probabilities=(0.7, 0.3),
    ),
    question("Whose birthday was it?", "{hero}'s {kin}'s"),
    question("Where was the {garment} hidden?", "{spot}"),
    question("What color was the {garment}?", "{color}"),
)

LOST_IN_CROWD = (
    INTRODUCTION,
    say(
        "{weekday}，{hero}和{hero.she}的{kin}去{place}。{kin}带着一{clothing.m}{color}的{clothing}。",
        "On {weekday} {hero} went to the {place} with {hero.hers} {kin}, who had {color.a} {clothing}.",
        "{hero} and {hero.hers} {kin} went to the {place} on {weekday}. The {kin} had {color.a} {clothing}, so {kin.she} was easy to see.",
        'On {weekday} there was a fair, and {hero} was there with {hero.hers} {kin}. "Follow my {color} {clothing}," said the {kin}. They came to the {place}.',
    ),
    Fact("the {kin}", "has", "the {color} {clothing}"),
    say(
        "那里有一{thing.m}{thing}、一{thing2.m}{thing2}和一{toy.m}{color2}的{toy}，{hero}停下来看。",
        "People were selling things, and {hero} stopped to look at {thing.a}, {thing2.a} and {color2.a} {toy}.",
        "There was so much to see: {thing.a}, {thing2.a}, {color2.a} {toy}! {hero} stopped.",
        "{hero} stood still before a table with {thing.a}, {thing2.a} and {color2.a} {toy}.",
    ),
    say(
        "等{hero.she}抬起头，{kin}不见了。{hero.she}很{sad}。",
        "When {hero.she} looked up, {hero.hers} {kin} was gone, and {hero.she} felt {sad}.",
        "Then {hero.she} turned around. There was no {kin} to be seen. {hero.She} was {sad}.",
        "A minute later {hero.she} was alone among strangers and {sad}.",
    ),
    Break(),
    say(
        "“你怎么了？”{helper}问。“我找不到我的{kin}了，”{hero}说。",
        '"What is the matter?" asked the {helper}. "I lost my {kin}," said {hero}.',
        'The {helper} bent down. "Are you lost?" "Yes," said {hero}. "I cannot find my {kin}."',
        'The {helper} saw {hero.her} and stopped. "Where is your {kin}?" {helper.she} asked.',
    ),
    say(
        "“{kin.she}带着什么？”{helper}问。“一{clothing.m}{color}的{clothing}，”{hero}说。",
        '"What should I look for?" {helper.she} asked. "For {color.a} {clothing}," said {hero}.',
        '"Tell me what to look for," {helper.she} said. {hero} thought. "There is {color.a} {clothing}."',
        '{hero} remembered. "Look for {color.a} {clothing}," {hero.she} said.',
    ),
    either(
        happy(
            say(
                "{helper}高高举起{hero}。在那边，{clothing}就在一{animal.m}{animal}旁边！",
                "The {helper} lifted {hero} up, and there was the {clothing}, next to {animal.a}.",
                "They walked past {animal.a} in a cage, and there it was.",
                "Together they climbed some steps, and beyond {animal.a} {hero} saw it.",
            ),
            say(
                "{kin}跑过来抱住{hero}，两个人都很{glad}。",
                "{hero.Hers} {kin} ran to {hero.her}, and both were {glad}.",
                '"I looked for you everywhere!" cried {hero.hers} {kin}, {glad} and out of breath.',
                "{hero} did not let go of the {kin}'s hand again. How {glad} they were!",
            ),
            Fact("{hero}", "is", "with the {kin}"),
            summary="{hero} loses {hero.hers} {kin} in a crowd, and the {helper} helps to find {kin.her}.",
        ),
        happy(
            say(
                "他们没有看见它。于是{helper}敲响了大钟，{kin}听见跑来了。",
                "They did not see it. So the {helper} rang the big bell, and {hero}'s {kin} heard it and came.",
                "They looked and looked. At last the {helper} called the name of {hero} over the square, and the {kin} came running.",
            ),
            say(
                "“我很{glad}，”{kin}说，“因为你没有乱跑。”",
                '"I am {glad}," said {hero.hers} {kin}, "because you stayed where you were."',
                "{hero.Hers} {kin} was {glad} and bought {hero.her} {food.a}.",
            ),
            Fact("{hero}", "is", "with the {kin}"),
            summary="{hero} loses {hero.hers} {kin} in a crowd, and the {helper} calls {kin.her}.",
        ),
        probabilities=(0.6, 0.4),
    ),
    question("What did the {kin} have?", "{color.a} {clothing}"),
    question("Who helped {hero}?", "the {helper}"),
    question("Where did they go?", "to the {place}"),
)

PLOTS_ABOUT_PEOPLE = {
    "promise": PROMISE,
    "sharing": SHARING,
    "new friend": NEW_FRIEND,
    "present": PRESENT,
    "lost in a crowd": LOST_IN_CROWD,
}
