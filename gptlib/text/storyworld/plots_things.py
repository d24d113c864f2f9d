"""Plots about things: lost, stuck, broken, traded, locked away."""

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

LOST_TOY = (
    INTRODUCTION,
    say(
        "{hero}最喜欢的玩具是一{toy.m}{color}的{toy}。",
        "Of all {hero}'s toys, the best was {color.a} {toy}.",
        "{hero} had {color.a} {toy} and took it everywhere.",
        "{hero}'s favorite toy was {color.a} {toy}.",
        "For {hero}'s birthday there had been {color.a} {toy}.",
    ),
    say(
        "一个{weather}的{daytime}，{hero}把{toy}放在{spot}，去{chore}。",
        "One {weather} {daytime}, {hero.she} left the {toy} {spot} and went to {chore}.",
        "One {weather} {daytime}, {hero.she} put {toy.it} {spot} before {hero.she} went to {chore}.",
        "It was a {weather} {daytime}, and {hero.she} put the {toy} down {spot} and went off to {chore}.",
    ),
    Fact("the {toy}", "is", "{spot}"),
    Fact("the {toy}", "color", "{color}"),
    say(
        "后来{hero}想玩的时候，却忘了放在哪里。",
        "Later {hero.she} wanted to play, but {hero.she} could not remember where the {toy} was.",
        "When {hero.she} came back to play, the {toy} was nowhere to be seen.",
        "Afterwards {hero.she} looked around. Where had the {toy} gone?",
    ),
    Break(),
    in_any_order(
        say(
            "{hero}看了看{spot2}，只找到一{thing.m}{thing}。",
            "{hero} looked {spot2}, but there was only {thing.a}.",
            "{hero} searched {spot2} and found nothing but {thing.a}.",
            "First thought: {spot2}! But all {hero.she} found was {thing.a}.",
        ),
        sometimes=(
            say(
                "{hero}又看了看{spot3}，那里有一{thing2.m}{thing2}和一{clothing.m}{clothing}。",
                "{hero.She} tried {spot3}, where {thing2.a} and {clothing.a} were lying.",
                "{hero.She} peeked {spot3} and saw {thing2.a} and {clothing.a}, but no {toy}.",
            ),
        ),
    ),
    say(
        "“{friend}，你看见我那{toy.m}{color}的{toy}了吗？”{hero}问。",
        '"{friend}, have you seen my {color} {toy}?" {hero} asked.',
        '{hero} called, "{friend}, have you seen my {color} {toy}?"',
        '{hero} found {friend} and asked, "Did you take my {color} {toy}?"',
    ),
    say(
        "“没有，”{friend}说，“想一想，你去{chore}之前在哪里？”",
        '"No," said {friend}. "Think. Where were you before you went to {chore}?"',
        '{friend} shook {friend.hers} head. "What did you do before you went to {chore}?"',
        '"Not me," {friend} said. "Try to remember the moment before you went to {chore}."',
    ),
    either(
        happy(
            say(
                "{hero}闭上眼睛想了想，跑了过去。{toy}还在{spot}。",
                "{hero} closed {hero.hers} eyes, thought, and ran. There was the {toy}, still {spot}.",
                "{hero} thought hard and then laughed. The {toy} was {spot}, where {hero.she} had left it.",
                'At last {hero} cried, "I know!" And yes, the {toy} was {spot}.',
            ),
            say(
                "“谢谢你，{friend}！”{hero}{glad}地说。",
                '"Thank you, {friend}!" said {hero}, {glad} to have it back.',
                "{hero} was {glad}, because the {toy} was safe, and {friend} got to play with it first.",
                "{hero.She} hugged {friend} and was {glad} all {daytime} long.",
            ),
            Fact("{hero}", "has", "the {toy}"),
            summary="{hero} forgets where {hero.she} left {hero.hers} {toy}, and finds it {spot}.",
        ),
        unhappy(
            say(
                "他们一直找到天黑，也没有找到{toy}。",
                "They looked until it was dark, but they did not find the {toy}.",
                "{hero} thought and thought, but nothing came. The {toy} stayed lost.",
                "The two of them searched the whole house, yet nobody found the {toy}.",
            ),
            say(
                "那{toy.m}{toy}一直在{spot}，没有人去看。",
                "All that time it lay {spot}, and nobody looked there.",
                "Nobody thought of looking {spot}, where it waited.",
            ),
            summary="{hero} forgets where {hero.she} left {hero.hers} {toy}, and nobody finds it.",
        ),
        probabilities=(0.7, 0.3),
    ),
    question("Where was the {toy}?", "{spot}"),
    question("What color was {hero}'s {toy}?", "{color}"),
    question("Whom did {hero} ask about the {toy}?", "{friend}"),
)

STUCK_TOY = (
    INTRODUCTION,
    say(
        "一个{weather}的{daytime}，{hero}和{friend}{place.at}玩一{toy.m}{color}的{toy}。",
        "One {weather} {daytime}, {hero} and {friend} played {place.at} with {color.a} {toy}.",
        "On a {weather} {daytime}, {hero} took {color.a} {toy} and met {friend} {place.at}.",
        "{hero} brought {color.a} {toy} to play with {friend} {place.at} one {weather} {daytime}.",
    ),
    say(
        "{hero}把它高高扔起，{toy}挂在了一棵树上。",
        "{hero} threw it high, too high, and the {toy} got stuck in a tree.",
        "Up it went, and then it did not come down. The {toy} was caught in a tree.",
        "{friend} laughed and threw it up to the sky, and the {toy} landed in the top of a tree.",
    ),
    Fact("the {toy}", "color", "{color}"),
    Fact("the {toy}", "is", "in the tree"),
    say(
        "“哎呀！”{friend}说，“现在怎么办？”",
        '"Oh no!" said {friend}. "What do we do now?"',
        '"Oh dear," {friend} said. "How do we get it back?"',
        '{friend} looked up and said, "That is much too high for us."',
    ),
    SIGHTS,
    Break(),
    in_any_order(
        say(
            "{hero}跳了又跳，可是够不着。",
            "{hero} jumped and jumped, but {hero.hers} arms were too short.",
            "{hero} jumped as high as {hero.she} could. It was no use.",
        ),
        say(
            "{friend}向它扔了一{clothing.m}{clothing}，{clothing}也挂住了。",
            "{friend} threw {clothing.a} at it, and now the {clothing} was stuck as well.",
            "{friend} took off {clothing.a} and threw it up. The {clothing} stayed up there too.",
        ),
        sometimes=(
            say(
                "{hero}用一{tool.m}{tool}去捅，还是太短。",
                "{hero} poked at the branch with {tool.a}, which was not long enough.",
                "{hero} tried to reach it with {tool.a}, but that did not help.",
            ),
        ),
    ),
    say(
        "这时{helper}路过，问他们为什么{sad}。",
        "Then the {helper} came by and asked why they looked so {sad}.",
        'Just then the {helper} walked past. "Why so {sad}?" {helper.she} asked.',
        "They felt {sad}, until the {helper} stopped beside the tree.",
    ),
    either(
        happy(
            say(
                "{helper}爬上梯子，先拿下了{clothing}，又拿下了{toy}。",
                "The {helper} fetched a ladder, climbed up and threw down the {clothing} and then the {toy}.",
                "{helper.She} shook the tree with both hands, and down came the {clothing} and the {toy}.",
                "With a long pole the {helper} got the {clothing} down, and the {color} {toy} after it.",
            ),
            say(
                "{hero}很{glad}，因为{toy}一点也没坏。",
                "{hero} was {glad}, because the {toy} was not even scratched.",
                '"You saved my {toy}!" cried {hero}, who was very {glad}.',
                "{hero} thanked the {helper} and felt {glad}, for it was not broken at all.",
            ),
            Fact("{hero}", "has", "the {toy}"),
            Fact("the {toy}", "is", "with {hero}"),
            Fact("{friend}", "has", "the {clothing}"),
            summary="{hero}'s {toy} gets stuck in a tree, and the {helper} brings it down.",
        ),
        unhappy(
            say(
                "{helper}也够不着。一阵大风把{toy}吹走了，再也看不见。",
                "But even the {helper} could not reach. A strong wind took the {toy} over the roofs and away.",
                "The {helper} tried, but then the wind blew, and the {toy} sailed off and was gone.",
                "Not even the {helper} was tall enough, and in the night the wind carried the {toy} away.",
            ),
            Fact("the {toy}", "is", "gone"),
            summary="{hero}'s {toy} gets stuck in a tree, and the wind carries it away.",
        ),
        probabilities=(0.7, 0.3),
    ),
    question("Who came by while the {toy} was stuck?", "the {helper}"),
    question("What did {friend} throw at the {toy}?", "the {clothing}"),
    question("Where did {hero} and {friend} play?", "{place.at}"),
)

BROKEN_TOY = (
    INTRODUCTION,
    say(
        "{friend}有一{toy.m}{color}的{toy}，{hero}很想玩。",
        "{friend} owned {color.a} {toy}, and {hero} longed to play with it.",
        "{hero} had never seen anything as fine as {friend}'s {color} {toy}.",
        "More than anything, {hero} liked the {color} {toy} that belonged to {friend}.",
    ),
    say(
        "“可以借我玩到{weekday}吗？”{hero}问。“可以，小心点，”{friend}说。",
        '"May I borrow it until {weekday}?" asked {hero}. "Yes, but be careful," said {friend}.',
        '"You can have it until {weekday}," {friend} said, "if you take care of it." {hero} nodded.',
        '{hero} asked for it, and {friend} said, "Bring it back on {weekday}."',
    ),
    say(
        "{hero}{place.at}玩，{toy}掉在一块石头上，摔坏了。",
        "But {hero} ran too fast {place.at}, and the {toy} fell on a rock and broke.",
        "{hero} took it out {place.at}. There was a crack, and the {toy} was in two pieces.",
        "Then, {place.at}, {hero} tripped, and the {toy} broke.",
    ),
    Fact("the {toy}", "belongs to", "{friend}"),
    Fact("the {toy}", "color", "{color}"),
    say(
        "{hero}很{sad}。{friend}会怎么说呢？",
        "{hero} felt {sad}. What would {friend} say?",
        "How {sad} {hero} was! It was not even {hero.hers} own.",
        "{hero} stood there and felt {sad}, for {friend} had trusted {hero.her}.",
    ),
    SIGHTS,
    Break(),
    either(
        happy(
            say(
                "{weekday}，{hero}说出了真相：“我弄坏了你的{toy}，对不起。”",
                'On {weekday} {hero} told the truth. "I broke your {toy}. I am sorry."',
                '{weekday} came, and {hero} said, "I fell, and your {toy} broke. It was my fault."',
                'On {weekday} {hero} took a deep breath and said, "Your {toy} is broken, and I did it."',
            ),
            say(
                "{friend}沉默了一会儿，说：“我们一起修吧。”",
                '{friend} was quiet for a while. Then {friend.she} said, "Let us mend it."',
                '"Thank you for telling me," said {friend}. "We can fix it together."',
                '{friend} looked at the pieces. "I think we can glue it," {friend.she} said.',
            ),
            say(
                "他们用胶水和一{treasure.m}{treasure}把{toy}修好了，{hero}很{glad}。",
                "With glue and {treasure.a} they made the {toy} whole, and {hero} was {glad}.",
                "They used glue, string and {treasure.a}, and soon the {toy} was whole. {hero} felt {glad}.",
                "It took glue, patience and {treasure.a}. In the end {hero} was {glad}, because {friend} had forgiven {hero.her}.",
            ),
            Fact("the {toy}", "is", "mended"),
            summary="{hero} breaks {friend}'s {toy}, tells the truth, and they mend it.",
        ),
        unhappy(
            say(
                "{hero}把{toy}藏在{spot}，什么也没说。",
                "{hero} hid the {toy} {spot} and said nothing.",
                "{hero} told nobody and put the pieces {spot}.",
                "Without a word {hero} pushed the broken {toy} out of sight {spot}.",
            ),
            say(
                "{weekday}，{friend}来了，看了看{spot}，发现了它。",
                "On {weekday} {friend} came to visit, looked {spot}, and there it was.",
                "When {weekday} came, {friend} found it {spot} and understood.",
            ),
            say(
                "“你为什么不告诉我？”{friend}问，然后走了。",
                '"Why did you not tell me?" asked {friend}, and {friend.she} left.',
                '"A broken {toy} can be mended," said {friend}. "A lie is harder."',
                "{friend} took the pieces home and did not come back that week.",
            ),
            Fact("the {toy}", "is", "broken"),
            summary="{hero} breaks {friend}'s {toy} and hides it, but {friend} finds out.",
        ),
        probabilities=(0.6, 0.4),
    ),
    question("Whose {toy} was it?", "{friend}"),
    question("When was the {toy} to be returned?", "{weekday}"),
    question("What color was the {toy}?", "{color}"),
)

TRADE = (
    INTRODUCTION,
    say(
        "{hero}有一{toy.m}{color}的{toy}，{friend}有一{toy2.m}{color2}的{toy2}。",
        "{hero} had {color.a} {toy}, and {friend} had {color2.a} {toy2}.",
        "There were two treasures on the street: {hero}'s {color} {toy} and {friend}'s {color2} {toy2}.",
        "{hero} owned {color.a} {toy}. {friend}, who lived next door, owned {color2.a} {toy2}.",
    ),
    say(
        "{weekday}，{hero}说：“我们换吧！”{friend}同意了。",
        'On {weekday} {hero} said, "Let us trade!" and {friend} agreed.',
        '"I will give you mine for yours," {hero} said on {weekday}. "Done," said {friend}.',
        'They met {place.at} on {weekday}. "Trade?" asked {hero}. "Trade," said {friend}.',
    ),
    say(
        "于是{hero}带着{toy2}回家，{friend}带着{toy}回家。",
        "So {hero} went home with the {toy2}, and {friend} went home with the {toy}.",
        "They shook hands. Now the {toy2} was {hero}'s, and the {toy} was {friend}'s.",
        "{friend} carried off the {toy}, and {hero} ran home with the {toy2}.",
    ),
    Fact("{hero}", "has", "the {toy2}"),
    Fact("{friend}", "has", "the {toy}"),
    Fact("the {toy}", "color", "{color}"),
    Fact("the {toy2}", "color", "{color2}"),
    SIGHTS,
    Break(),
    maybe(
        say(
            "{hero.she}的{kin}问：“你的{toy}呢？”",
            '"Where is your {toy}?" asked {hero.hers} {kin}.',
            '{hero.Hers} {kin} saw it and asked, "What became of your {toy}?"',
        )
    ),
    either(
        happy(
            say(
                "{hero}玩了{days.m}天{toy2}，越来越喜欢。",
                "For {days} days {hero} played with the {toy2} and liked it more and more.",
                "{days.N} days went by, and {hero} still liked the {toy2} best.",
                "{hero} tried the {toy2} for {days} days and never once looked back.",
            ),
            say(
                "{friend}也很{glad}，因为{color}的{toy}正是{friend.she}想要的。",
                "{friend} was {glad} too, because {color.a} {toy} was what {friend.she} had always wanted.",
                "And {friend} was {glad}, for nobody else had {color.a} {toy}.",
            ),
            summary="{hero} trades {hero.hers} {toy} for {friend}'s {toy2}, and both are content.",
        ),
        happy(
            say(
                "可是{days.m}天以后，{hero}想念{toy}了。",
                "But after {days} days {hero} missed the {toy}.",
                "{days.N} days later the {toy2} was only a thing, and {hero} longed for the {toy}.",
                "Yet {hero} felt {sad} when {hero.she} thought of the {color} {toy}, and after {days} days {hero.she} went back.",
            ),
            say(
                "“我们可以换回来吗？”{hero}问。{friend}笑了：“我也想念我的{toy2}。”",
                '"May we trade back?" {hero} asked. {friend} laughed. "I missed my {toy2} too."',
                '"I want to trade back," said {hero}. "Good," said {friend}, "I want my {toy2}."',
                '{friend} opened the door before {hero} could knock. "You want your {toy}, and I want my {toy2}," {friend.she} said.',
            ),
            Fact("{hero}", "has", "the {toy}"),
            Fact("{friend}", "has", "the {toy2}"),
            summary="{hero} trades {hero.hers} {toy} for {friend}'s {toy2}, and they trade back.",
        ),
        unhappy(
            say(
                "可是{days.m}天以后，{toy2}坏了。",
                "But after {days} days the {toy2} fell apart.",
                "{days.N} days later the {toy2} was broken.",
                "The {toy2} lasted {days} days and no longer.",
            ),
            say(
                "{hero}想要回{toy}，{friend}说：“换了就是换了。”",
                '{hero} wanted the {toy} back. "A trade is a trade," said {friend}.',
                '"Please give me my {toy}," begged {hero}. But {friend} said no.',
                "{friend} would not give back the {toy}, not even for a minute.",
            ),
            Fact("the {toy2}", "is", "broken"),
            summary="{hero} trades {hero.hers} {toy} for {friend}'s {toy2}, which breaks.",
        ),
        probabilities=(0.3, 0.4, 0.3),
    ),
    question("What did {hero} give to {friend}?", "the {color} {toy}"),
    question("When did they trade?", "{weekday}"),
    question("What did {friend} own at first?", "the {color2} {toy2}"),
)

TREASURE_BOX = (
    INTRODUCTION,
    say(
        "{hero}{place.at}找到一把{color}的钥匙。",
        "{hero} found {color.a} key {place.at}.",
        "One {weather} {daytime}, {hero} was {place.at} and saw {color.a} key in the grass.",
        "Something glittered {place.at}, and {hero} bent down. It was {color.a} key.",
        "On {weekday} {hero} picked up {color.a} key {place.at}.",
    ),
    Fact("the key", "color", "{color}"),
    say(
        "“它能打开什么呢？”{hero}问{friend}。",
        '"What does it open?" {hero} asked {friend}.',
        '{hero} showed it to {friend}. "What is it for?"',
        '"Look, {friend}!" said {hero}. "There must be a lock for it."',
    ),
    SIGHTS,
    Break(),
    in_any_order(
        say(
            "他们试了{kin}的柜子，打不开。",
            "They tried it on {hero}'s {kin}'s cupboard. It did not fit.",
            "It was too big for the cupboard of {hero}'s {kin}.",
        ),
        sometimes=(
            say(
                "他们试了{helper}家的门，也打不开。",
                "They tried the {helper}'s door, and the {helper} only laughed.",
                "They tried the gate of the {helper}, but it did not turn.",
            ),
            say(
                "他们打开一个旧箱子，里面只有一{thing.m}{thing}。",
                "They tried an old chest, but all it held was {thing.a}.",
                "They looked into a trunk that was not even locked and found {thing.a}.",
            ),
        ),
    ),
    say(
        "最后，{friend}在{spot}发现一个{size}的盒子。",
        "At last {friend} saw a box {spot}, {size.a} one with a lock.",
        "Then {friend} noticed {size.a} box {spot}.",
        "In the end it was {friend} who found {size.a} box {spot}.",
    ),
    either(
        happy(
            say(
                "钥匙转动了。盒子里有一{treasure.m}{treasure}、一{treasure2.m}{treasure2}和一{treasure3.m}{color2}的{treasure3}。",
                "The key turned. In the box lay {treasure.a}, {treasure2.a} and {color2.a} {treasure3}.",
                "Click! Inside were {treasure.a}, {treasure2.a} and {color2.a} {treasure3}.",
                "It opened, and they saw {treasure.a}, {treasure2.a} and, under them, {color2.a} {treasure3}.",
            ),
            say(
                "{hero}留下了{treasure}，把{treasure3}给了{friend}。",
                "{hero} kept the {treasure} and gave the {treasure3} to {friend}.",
                '"The {treasure3} is yours, because you found the box," said {hero}, and kept the {treasure}.',
                "{friend} chose the {treasure3}, and {hero} took the {treasure}.",
            ),
            say(
                "{treasure2}他们送给了{kin}，{kin}很{glad}。",
                "They gave the {treasure2} to {hero}'s {kin}, who was {glad}.",
                "The {treasure2} went to {hero}'s {kin}, who had lost it long ago and was {glad}.",
            ),
            Fact("{hero}", "has", "the {treasure}"),
            Fact("{friend}", "has", "the {treasure3}"),
            Fact("the {kin}", "has", "the {treasure2}"),
            question("Who got the {treasure3}?", "{friend}"),
            summary="{hero} finds a key, and {friend} finds the box that it opens.",
        ),
        unhappy(
            say(
                "钥匙转动了，可是盒子是空的。",
                "The key turned, but the box was empty.",
                "It opened at once, and there was nothing in it but dust.",
                "{hero} turned the key and looked in. Somebody had been there before them.",
            ),
            say(
                "“至少我们还有一把{color}的钥匙，”{friend}说。",
                '"At least we have {color.a} key," said {friend}.',
                '"All that way for nothing," {friend} said, and {hero} put the key back {place.at}.',
            ),
            Fact("the box", "is", "empty"),
            question("What was in the box?", "nothing"),
            summary="{hero} finds a key, but the box that it opens is empty.",
        ),
        probabilities=(0.75, 0.25),
    ),
    question("Where was the key found?", "{place.at}"),
    question("What color was the key?", "{color}"),
)

PLOTS_ABOUT_THINGS = {
    "lost toy": LOST_TOY,
    "stuck toy": STUCK_TOY,
    "broken toy": BROKEN_TOY,
    "trade": TRADE,
    "treasure box": TREASURE_BOX,
}
