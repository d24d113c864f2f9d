"""Plots about days: a dark night, a lost animal, a race, a garden, an errand, a cake."""

from __future__ import annotations

from gptlib.text.storyworld.grammar import in_any_order
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

DARK_NIGHT = (
    INTRODUCTION,
    say(
        "{hero}怕黑。{weekday}晚上，{hero.she}的{kin}关了灯。",
        "{hero} was afraid of the dark. On {weekday} night {hero.hers} {kin} put out the light.",
        "On {weekday} night {hero} lay in bed, and {hero.hers} {kin} closed the door. It was very dark, and {hero} did not like the dark.",
        "There was one thing that {hero} feared, and that was the dark. On {weekday} {hero.hers} {kin} blew out the candle.",
    ),
    say(
        "突然，{spot}有什么在响。",
        "Then something went tap, tap, tap {spot}.",
        "Suddenly there was a noise {spot}.",
        "Scratch, scratch. What was that {spot}?",
    ),
    say(
        "“是谁？”{hero}小声说，觉得很{sad}。没有人回答。",
        '"Who is there?" whispered {hero}, {sad} and small. No one answered.',
        '{hero} pulled the blanket up and felt {sad}. "Hello?" No answer.',
        "{hero} felt {sad} and held {hero.hers} breath.",
    ),
    Break(),
    either(
        happy(
            say(
                "{hero}叫来了{kin}，{kin}拿着一盏{color}的灯笼。",
                "{hero} called, and {hero.hers} {kin} came with {color.a} lantern.",
                "{hero.Hers} {kin} heard {hero.her} and brought {color.a} lantern.",
                "Steps came nearer, and then a light. {hero}'s {kin} carried {color.a} lantern.",
            ),
            say(
                "“我们一起看看{spot}吧，”{kin}说。",
                '"Let us look {spot} together," said the {kin}.',
                '"Was it {spot}?" asked the {kin}. "Come, we will look."',
                '"Being brave is looking while you are afraid," the {kin} said, and they went to look {spot}.',
            ),
            say(
                "那只是{sound}。{hero}笑了。",
                "It was only {sound}, and {hero} had to laugh.",
                '"It is {sound}!" said {hero}. "Nothing else."',
                "And what did they see? Nothing but {sound}.",
            ),
            say(
                "{hero}很{glad}，因为{hero.she}知道了那是什么。",
                "{hero} was {glad}, because now {hero.she} knew what it was.",
                '"Good night," said {hero}, {glad} and not afraid any more.',
                "After that {hero} was {glad} to have the window open at night.",
            ),
            Fact("the noise", "was", "{sound}"),
            question("What made the noise?", "{sound}"),
            summary="{hero} is afraid of a noise {spot}, and it is only {sound}.",
        ),
        happy(
            say(
                "{hero}想起了{friend}的话：“害怕的时候，就数数。”",
                'Then {hero} remembered what {friend} always said: "When you are afraid, count."',
                'What was it that {friend} had told {hero.her}? "Count, and the fear goes away."',
            ),
            say(
                "{hero}数到{days}，打开了门。",
                "{hero} counted to {days} and opened the door.",
                "{hero.She} got as far as {days}, stood up and went to see.",
                '"... {days}!" {hero} jumped out of bed.',
            ),
            say(
                "门口是一{animal.m}{animal}，它也怕黑。",
                "It was {animal.a}, wet and cold, and it was afraid of the dark too.",
                "There sat {animal.a}, more frightened than {hero}.",
            ),
            say(
                "{hero}给了它一{food.m}{food}，{hero.she}很{glad}。",
                "{hero} gave it {food.a} and felt {glad}, because somebody needed {hero.her}.",
                "They shared {food.a}, and {hero} was {glad} not to be alone.",
            ),
            Fact("the noise", "was", "{animal.a}"),
            question("Who told {hero} to count?", "{friend}"),
            summary="{hero} is afraid of a noise {spot}, counts to {days}, and finds {animal.a}.",
        ),
        unhappy(
            say(
                "{hero}不敢动，一直醒到天亮。",
                "{hero} did not dare to move and was awake until the sun came up.",
                "{hero} hid under the pillow, and the night was very long.",
                "Nobody came, and {hero} listened all night.",
            ),
            say(
                "早上，{hero}太累了，没能和{friend}去{place}。",
                "In the morning {hero.she} was too tired to go to the {place} with {friend}.",
                "When {friend} came to go to the {place}, {hero} was fast asleep at last.",
            ),
            Fact("{hero}", "is", "tired"),
            question("Where was {hero} to go with {friend}?", "to the {place}"),
            summary="{hero} is afraid of a noise {spot} and does not sleep.",
        ),
        probabilities=(0.4, 0.35, 0.25),
    ),
    question("Where did the noise come from?", "{spot}"),
    question("Who put out the light?", "{hero}'s {kin}"),
)

LOST_ANIMAL = (
    INTRODUCTION,
    say(
        "一个{weather}的{daytime}，{hero}{place.at}看见一{animal.m}{size}的{animal}，脖子上有一条{color}的带子。",
        "One {weather} {daytime}, {hero} found {size.a} {animal} {place.at}. It had {color.a} band around its neck.",
        "{hero} was {place.at} one {weather} {daytime} and heard a cry. There sat {size.a} {animal} with {color.a} band around its neck.",
        "One {weather} {daytime}, {size.a} {animal} with {color.a} band came up to {hero} {place.at}.",
    ),
    Fact("the {animal}", "has", "{color.a} band"),
    say(
        "它很饿。{hero}喂了它一{food.m}{food}。",
        "The {animal} was hungry, and {hero} gave it {food.a}.",
        "It looked so thin that {hero} fed it {food.a}.",
        '"Poor thing," said {hero}, and shared {food.a} with it.',
    ),
    say(
        "“我能留下它吗？”{hero}问{kin}。“先找找它的主人，”{kin}说。",
        '"May I keep it?" {hero} asked {hero.hers} {kin}. "First we must look for its owner."',
        '{hero.Hers} {kin} said, "Somebody is missing this {animal}."',
        '{hero} wanted to keep it. "Think of the one who lost it," said {hero.hers} {kin}.',
    ),
    SIGHTS,
    Break(),
    say(
        "于是{hero}去问了{helper}。",
        "So {hero} asked the {helper}.",
        "{hero} went from door to door and came to the {helper}.",
        "So they put up a sign, and {hero} asked the {helper} as well.",
    ),
    either(
        happy(
            say(
                "“{friend}丢了一{animal.m}{animal}，”{helper}说。",
                '"{friend} has lost {animal.a}," said the {helper}.',
                '"Try {friend}," the {helper} said. "{friend.She} was looking for {animal.a}."',
                'The {helper} thought. "{friend} was here and cried about {animal.a}."',
            ),
            say(
                "“你的{animal}戴着什么颜色的带子？”{hero}问。“{color}，”{friend}说。",
                'To be sure, {hero} asked, "What color is the band?" "It is {color}," said {friend}.',
                '"Does it have {color.a} band?" {hero} asked. "Yes, {color}!" cried {friend}.',
                '"Mine has {color.a} band," {friend} said, and then {hero} knew.',
            ),
            say(
                "{friend}抱住它，很{glad}。“随时来看它吧，{hero}。”",
                '{friend} held it close and was {glad}. "Visit us whenever you like, {hero}."',
                'How {glad} {friend} was! "You must come and see it every {weekday}, {hero}."',
                "{friend} was {glad}, because {hero} had brought it back.",
            ),
            Fact("{friend}", "has", "the {animal}"),
            question("Who had lost the {animal}?", "{friend}"),
            summary="{hero} finds {animal.a} and brings it back to {friend}.",
        ),
        happy(
            say(
                "没有人知道它是谁的。{days.m}天过去了。",
                "Nobody knew it. {days.N} days went by, and nobody came.",
                '"I have never seen it," said the {helper}. They waited {days} days.',
                "They waited {days} days, but no one asked for it.",
            ),
            say(
                "“那么它是你的了，”{kin}说。{hero}很{glad}，叫它{third}。",
                '"Then it is yours," said {hero.hers} {kin}. {hero} was {glad} and called it {third}.',
                "So {hero} could keep it, and {hero.she} was {glad}. {hero.She} named it {third}.",
                'The {kin} smiled. "What will you call it?" "{third}!" said {hero}, very {glad}.',
            ),
            Fact("{hero}", "has", "the {animal}"),
            question("What was the {animal} called?", "{third}"),
            summary="{hero} finds {animal.a}, and since nobody asks for it, keeps it.",
        ),
        unhappy(
            say(
                "可是晚上，{animal}从开着的门跑了。",
                "But at night a door stood open, and the {animal} ran away.",
                "But while they talked, the {animal} slipped through the gate and was gone.",
            ),
            say(
                "{hero}只找到了那条{color}的带子。",
                "All that {hero} found was {color.a} band {place2.at}.",
                "The next day the {color} band lay {place2.at}. There was no other trace.",
            ),
            Fact("the {animal}", "is", "gone"),
            question("Where was the band found?", "{place2.at}"),
            summary="{hero} finds {animal.a}, but it runs away.",
        ),
        probabilities=(0.5, 0.3, 0.2),
    ),
    question("What color was the band of the {animal}?", "{color}"),
    question("What did {hero} give it to eat?", "{food.a}"),
)

RACE = (
    INTRODUCTION,
    say(
        "{weekday}有一场赛跑，从{place}跑到{place2}，奖品是一{treasure.m}{color}的{treasure}。",
        "On {weekday} there was to be a race from the {place} to the {place2}. The prize was {color.a} {treasure}.",
        '"Who is the fastest?" said a sign. "Race on {weekday}, from the {place} to the {place2}. The winner gets {color.a} {treasure}."',
        "Everybody talked about the race on {weekday}. It went from the {place} to the {place2}, and the prize was {color.a} {treasure}.",
    ),
    say(
        "“{friend}总是赢，”{hero}想。于是{hero.she}练习了{days.m}天。",
        '"{friend} always wins," thought {hero}. So {hero.she} practiced for {days} days.',
        "{friend} was the fastest of all, so {hero} trained for {days} days.",
        "{hero} wanted to win against {friend} and ran every morning for {days} days.",
    ),
    maybe(
        say(
            "{hero.she}的{kin}给{hero.she}一{clothing.m}{color2}的{clothing}。“它会给你带来好运，”{kin.she}说。",
            '{hero.Hers} {kin} gave {hero.her} {color2.a} {clothing}. "For luck," {kin.she} said.',
            '"Wear this for luck," said {hero.hers} {kin}, and it was {color2.a} {clothing}.',
        ),
        Fact("{hero}", "has", "the {color2} {clothing}"),
        question("What did the {kin} give to {hero}?", "{color2.a} {clothing}"),
        probability=0.6,
    ),
    SIGHTS,
    Break(),
    say(
        "{weekday}，大家{place.at}排好队。{helper}喊：“跑！”",
        'On {weekday} they all stood in a row {place.at}. "Go!" shouted the {helper}.',
        "{weekday} came. The {helper} dropped a flag, and off they ran.",
        "On {weekday} the {helper} counted to three, and everyone ran.",
    ),
    in_any_order(
        say(
            "一开始，{friend}跑在最前面。",
            "{friend} was in front, as always.",
            "Far ahead ran {friend}.",
        ),
        sometimes=(
            say(
                "一{animal.m}{animal}跑过路中间，大家都笑了。",
                "Then {animal.a} crossed the road, and everybody had to jump.",
                "Suddenly {animal.a} ran along with them.",
            ),
        ),
    ),
    either(
        happy(
            say(
                "快到{place2}的时候，{hero}超过了{friend}，赢了。",
                "But near the {place2} {hero} passed {friend} and won.",
                "Before the {place2} {friend} got tired. {hero} did not, and {hero} was first.",
                "{hero} ran faster and faster, and at the end {hero.she} was one step ahead of {friend}.",
            ),
            say(
                "{hero}举起{treasure}，很{glad}，因为练习有了结果。",
                "{hero} held up the {treasure} and was {glad}, because all that practice had been good for something.",
                '"You earned it," said {friend}, and {hero}, {glad} and out of breath, took the {treasure}.',
                "With the {color} {treasure} in {hero.hers} hand {hero} felt {glad}.",
            ),
            Fact("{hero}", "has", "the {treasure}"),
            Fact("the winner", "is", "{hero}"),
            question("Who won the race?", "{hero}"),
            summary="{hero} practices for a race and wins the {treasure}.",
        ),
        happy(
            say(
                "突然{friend}摔倒了。{hero}停下来扶{friend.she}。",
                "Then {friend} fell. {hero} could have won, but {hero.she} stopped and helped {friend.her} up.",
                '"Ouch!" {friend} lay on the ground. {hero} turned back and gave {friend.her} a hand.',
            ),
            say(
                "{third}赢了{treasure}，可是{hero}和{friend}一起走到终点，都很{glad}。",
                "{third} won the {treasure}, but {hero} and {friend} crossed the line side by side and were {glad}.",
                "So {third} got the {treasure}. {hero} came last, arm in arm with {friend}, and was {glad} all the same.",
            ),
            Fact("{third}", "has", "the {treasure}"),
            Fact("the winner", "is", "{third}"),
            question("Who won the race?", "{third}"),
            summary="{hero} stops in a race to help {friend}, and {third} wins.",
        ),
        unhappy(
            say(
                "{hero}跑得太急，摔进了泥里。{friend}赢了{treasure}。",
                "{hero} ran too fast, slipped and fell into the mud, and {friend} won the {treasure}.",
                "Halfway {hero} stumbled and lost a shoe. So the {treasure} went to {friend}.",
                "{hero} gave all {hero.she} had, but {friend} was faster and got the {treasure}.",
            ),
            maybe(
                say(
                    "“下次再来，”{kin}说。",
                    '"There is always another race," said {hero.hers} {kin}.',
                    '"I saw how hard you tried," {hero.hers} {kin} said.',
                )
            ),
            Fact("{friend}", "has", "the {treasure}"),
            Fact("the winner", "is", "{friend}"),
            question("Who won the race?", "{friend}"),
            summary="{hero} practices for a race, but {friend} wins.",
        ),
        probabilities=(0.4, 0.25, 0.35),
    ),
    question("What was the prize?", "{color.a} {treasure}"),
    question("Where did the race end?", "at the {place2}"),
)

GARDEN = (
    INTRODUCTION,
    say(
        "{weekday}，{helper}给了{hero}一颗种子。“里面有什么？”{hero}问。“等着看吧，”{helper.she}说。",
        '"What is in it?" asked {hero} when the {helper} gave {hero.her} a seed on {weekday}. "Wait and see," {helper.she} said.',
        "On {weekday} the {helper} put a seed into {hero}'s hand and said that it was a secret what would grow.",
        "On {weekday} {hero} got a single seed from the {helper}. Nobody knew what would come of it.",
    ),
    say(
        "{hero}把它种在一个{color}的花盆里，放在{spot}。",
        "{hero} planted it in {color.a} pot and put the pot {spot}.",
        "{hero} filled {color.a} pot with earth, pushed the seed in and set it {spot}.",
        "It went into {color.a} pot, and the pot went {spot}.",
    ),
    Fact("the pot", "is", "{spot}"),
    Fact("the pot", "color", "{color}"),
    say(
        "每个{daytime}，{hero}都给它浇水。",
        "Every {daytime} {hero} gave it water.",
        "{hero} watered it every {daytime} and sang to it.",
        "Every {daytime} {hero.she} looked, and every {daytime} there was only earth.",
    ),
    maybe(
        say(
            "“什么也长不出来，”{friend}说。",
            '"Nothing will grow in that," said {friend}.',
            '{friend} looked into the pot. "It is dead," {friend.she} said.',
            '"Why not plant {food.a}?" {friend} asked. "That at least you can eat."',
        ),
        probability=0.6,
    ),
    Break(),
    either(
        happy(
            say(
                "{days.m}天以后，出现了一片{size}的绿叶。",
                "After {days} days there was {size.a} leaf.",
                "{days.N} days later {size.a} leaf came out of the earth.",
                "Then, after {days} days, {hero} saw it: {size.a} leaf.",
            ),
            say(
                "后来，{spot}开出了一朵{color2}的{flower}。",
                "It grew and grew, and one {weather} day {color2.a} {flower} opened {spot}.",
                "Week after week it got taller, until {color2.a} {flower} bloomed {spot}.",
                "And at the end of summer {color2.a} {flower} was standing {spot}.",
            ),
            say(
                "{hero}很{glad}，把花送给了{hero.she}的{kin}。",
                "{hero} was {glad}, because {hero.she} had waited so long, and gave it to {hero.hers} {kin}.",
                '"For you," said {hero} to {hero.hers} {kin}, who was {glad}.',
                "{hero} was {glad} and took the {flower} to {hero.hers} {kin} in its {color} pot.",
            ),
            Fact("the {flower}", "color", "{color2}"),
            Fact("the {kin}", "has", "the {flower}"),
            question("What grew from the seed?", "{color2.a} {flower}"),
            summary="{hero} plants a seed and waits, and {color2.a} {flower} grows.",
        ),
        unhappy(
            say(
                "可是有{days.m}天，{hero}忘了浇水。",
                "But then {hero} forgot about it for {days} days.",
                "But {hero} got {toy.a}, and for {days} days {hero.she} thought of nothing else.",
                "Then came {days} days when {hero} did not go near it.",
            ),
            say(
                "等{hero.she}去{spot}看的时候，小苗已经干了。",
                "When {hero.she} looked {spot} again, the little plant was dry and brown.",
                "{hero.She} came back to find a dry stem {spot}.",
            ),
            maybe(
                say(
                    "“我可以再给你一颗，”{helper}说。",
                    '"I will give you another," said the {helper}.',
                    'The {helper} said, "A seed forgives nothing. Try again."',
                )
            ),
            Fact("the plant", "is", "dead"),
            question("How long did {hero} forget the plant?", "{days} days"),
            summary="{hero} plants a seed but forgets to water it.",
        ),
        probabilities=(0.7, 0.3),
    ),
    question("Who gave {hero} the seed?", "the {helper}"),
    question("Where did the pot stand?", "{spot}"),
)

ERRAND = (
    INTRODUCTION,
    say(
        "“{hero}，请去{place}买一{food.m}{food}、一{thing.m}{thing}和一{clothing.m}{color}的{clothing}，”{hero.she}的{kin}说。",
        '"{hero}, please go to the {place} and get {food.a}, {thing.a} and {color.a} {clothing}," said {hero.hers} {kin}.',
        'One {weather} {daytime}, {hero}\'s {kin} said, "Go to the {place} and bring me {food.a}, {thing.a} and {color.a} {clothing}."',
        "{hero}'s {kin} sent {hero.her} to the {place} for {food.a}, {thing.a} and {color.a} {clothing}.",
    ),
    say(
        "“{food}，{thing}，{clothing}，”{hero}一路上念着。",
        '"The {food}, the {thing}, the {clothing}," {hero} said to {hero.herself} on the way.',
        "All the way {hero} said it over: {food}, {thing}, {clothing}; {food}, {thing}, {clothing}.",
        "So as not to forget, {hero} sang it: the {food}, the {thing}, the {clothing}.",
    ),
    say(
        "半路上{hero}遇见了{friend}，{friend.she}带着一{toy.m}{color2}的{toy}。他们玩了一会儿。",
        "On the way {hero} met {friend} with {color2.a} {toy}, and they played for a while.",
        "Then {friend} came along with {color2.a} {toy}, and of course they had to try it.",
        '"Look at my {color2} {toy}!" called {friend}, and {hero} stayed and played.',
    ),
    Break(),
    either(
        happy(
            say(
                "到了{place}，{hero}还记得：{food}，{thing}，还有{color}的{clothing}。",
                "Still, {place.at} {hero} had it all: the {food}, the {thing} and the {color} {clothing}.",
                '"I need {food.a}, {thing.a} and {color.a} {clothing}, please," said {hero} without a pause.',
                "And yet {hero} forgot nothing. {hero.She} bought the {food}, the {thing} and the {color} {clothing}.",
            ),
            say(
                "“你全都记住了！”{kin}{glad}地说，给了{hero}一{treasure.m}{treasure}。",
                '"You remembered everything!" said {hero.hers} {kin}, {glad}, and gave {hero.her} {treasure.a}.',
                "{hero.Hers} {kin} was {glad} and let {hero.her} have {treasure.a} as a reward.",
            ),
            Fact("the {kin}", "has", "the {color} {clothing}"),
            Fact("{hero}", "got", "the {treasure}"),
            question("What was the reward?", "{treasure.a}"),
            summary="{hero} runs an errand for {hero.hers} {kin} and remembers everything.",
        ),
        happy(
            say(
                "到了{place}，{hero}忘了最后一样东西。{hero.she}想了又想。",
                "But {place.at} {hero} had only the {food} and the {thing}. What was the third?",
                "The {food}, the {thing} ... and then? {hero} stood {place.at} and could not remember.",
            ),
            say(
                "这时{helper}戴着一{clothing.m}{clothing}走过。“对了，{color}的{clothing}！”",
                'Just then the {helper} passed by with one. "That is it," cried {hero}, "{color.a} {clothing}!"',
                "Then {hero.she} saw the {helper}'s {clothing} and knew. It was to be {color.a} {clothing}.",
            ),
            say(
                "{hero}{glad}地把所有东西带回了家。",
                "{hero} was {glad} and carried it all home.",
                "{hero} came home with everything, tired but {glad}.",
            ),
            Fact("the {kin}", "has", "the {color} {clothing}"),
            question("What did {hero} forget at first?", "the {clothing}"),
            summary="{hero} runs an errand for {hero.hers} {kin} and nearly forgets the {clothing}.",
        ),
        unhappy(
            say(
                "到了{place}，{hero}买了{food}和{thing}，却带回一{clothing2.m}{color3}的{clothing2}。",
                "So {hero} came home with the {food}, the {thing} and {color3.a} {clothing2}.",
                "There {hero} got the {food}, the {thing} and, by mistake, {color3.a} {clothing2}.",
            ),
            say(
                "“我要的是{color}的{clothing}，”{kin}叹了口气。",
                '"I asked for {color.a} {clothing}," sighed {hero.hers} {kin}.',
                '{hero.Hers} {kin} shook {kin.hers} head. "It was to be {color.a} {clothing}."',
            ),
            Fact("the {kin}", "has", "the {color3} {clothing2}"),
            question("What did {hero} bring by mistake?", "{color3.a} {clothing2}"),
            summary="{hero} runs an errand for {hero.hers} {kin} and brings the wrong {clothing2}.",
        ),
        probabilities=(0.45, 0.3, 0.25),
    ),
    question("Where was {hero} sent?", "to the {place}"),
    question("Whom did {hero} meet on the way?", "{friend}"),
)

BAKING = (
    INTRODUCTION,
    say(
        "{weekday}，{hero}和{friend}想为{helper}做一{dish.m}{dish}。",
        "On {weekday} {hero} and {friend} wanted to make {dish.a} for the {helper}.",
        "The {helper} was coming on {weekday}, so {hero} asked {friend} to help with {dish.a}.",
        '"Let us make {dish.a} for the {helper}," said {hero} to {friend} on {weekday}.',
    ),
    say(
        "他们拿来一{utensil.m}{utensil}、一{utensil2.m}{utensil2}、{count.m}{food.m}{food}。",
        "They took {utensil.a}, {utensil2.a} and {count} {food.s}.",
        "On the table were {utensil.a}, {utensil2.a} and {count} {food.s}.",
        "They needed {utensil.a}, {utensil2.a} and, above all, {count} {food.s}.",
    ),
    Fact("the {dish}", "is for", "the {helper}"),
    maybe(
        say(
            "{friend}穿上一{clothing.m}{color}的{clothing}，免得弄脏。",
            "{friend} wore {color.a} {clothing} to keep clean, which did not work.",
            "{hero} tied {color.a} {clothing} around {hero.hers} waist.",
        )
    ),
    say(
        "{hero}搅拌，{friend}把{food}切碎。",
        "{hero} stirred, and {friend} cut up the {food.s}.",
        "{friend} chopped all {count} {food.s} while {hero} stirred.",
        "First went in the {food.s}. {hero} stirred until {hero.hers} arm hurt, and {friend} watched the fire.",
    ),
    Break(),
    either(
        happy(
            say(
                "可是味道太咸了。{friend}把盐当成了糖！",
                "But it tasted of salt! {friend} had taken it for sugar.",
                '"Ugh!" said {hero}. {friend} had mixed up the sugar and the salt.',
            ),
            say(
                "“没关系，”{hero}说，“我们再做一次。”",
                '"It does not matter," said {hero}. "We will start again."',
                "They looked at each other, laughed and began again.",
                '"Once more," said {hero}, "and this time we taste first."',
            ),
            say(
                "第二{dish.m}{dish}很好吃，{helper}很{glad}。",
                "The second {dish} was so good that the {helper} was {glad} and asked for more.",
                'The {helper} ate the second {dish} to the last bit. "I have never been so {glad}," {helper.she} said.',
                "Late that day the {helper} tasted the second {dish} and was {glad}.",
            ),
            Fact("the {helper}", "got", "the {dish}"),
            question("What had {friend} mixed up?", "sugar and salt"),
            summary="{hero} and {friend} make {dish.a} twice, and the {helper} likes it.",
        ),
        happy(
            say(
                "不久，厨房里香极了。",
                "Soon the whole house smelled of {dish}.",
                "The smell went out of the window and down the street.",
                "It came out hot and brown and steaming.",
            ),
            say(
                "{helper}{glad}地把{dish}分成{count.m}份。",
                "The {helper} was {glad} and cut the {dish} into {count} pieces, one for each of the {food.s}.",
                '"{count.N} {food.s} in one {dish}!" said the {helper}, {glad} that somebody had thought of {helper.her}.',
            ),
            Fact("the {helper}", "got", "the {dish}"),
            question("How many {food.s} were in the {dish}?", "{count}"),
            summary="{hero} and {friend} make {dish.a} for the {helper}, who likes it.",
        ),
        unhappy(
            say(
                "这时{third}来敲门，他们去{place}玩，忘了炉子。",
                "Then {third} knocked. They went out to play {place.at} and forgot the stove.",
                "But {third} called from outside, and they ran off to play {place.at}. Who was watching the fire?",
            ),
            say(
                "等他们回来，{dish}已经烧黑了。",
                "When they came back, the {dish} was black as coal.",
                "Smoke came out of the window. The {dish} was burnt.",
            ),
            maybe(
                say(
                    "{helper}只吃到一{food2.m}{food2}。",
                    "The {helper} got only {food2.a}.",
                    "All they had for the {helper} was {food2.a}.",
                )
            ),
            Fact("the {dish}", "is", "burnt"),
            question("Who came to the door?", "{third}"),
            summary="{hero} and {friend} make {dish.a} for the {helper} and let it burn.",
        ),
        probabilities=(0.4, 0.3, 0.3),
    ),
    question("For whom was the {dish}?", "the {helper}"),
    question("Who helped {hero} with the {dish}?", "{friend}"),
)

PLOTS_ABOUT_DAYS = {
    "dark night": DARK_NIGHT,
    "lost animal": LOST_ANIMAL,
    "race": RACE,
    "garden": GARDEN,
    "errand": ERRAND,
    "baking": BAKING,
}
