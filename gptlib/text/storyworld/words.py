"""The words of Storyworld: people, objects, places, colors, feelings, and the variables that stand for them.

Every word comes with its Chinese, objects with their measure word, people with their pronouns.
"""

from __future__ import annotations

from gptlib.checks import is_number
from gptlib.text.storyworld.grammar import Weights, Word

_SHE = {"she": "she", "She": "She", "her": "her", "hers": "her", "Hers": "Her", "herself": "herself"}
_HE = {"she": "he", "She": "He", "her": "him", "hers": "his", "Hers": "His", "herself": "himself"}
_PRONOUNS = {"she": _SHE, "he": _HE}
_CHINESE_PRONOUN = {"she": "她", "he": "他"}


def _table(text: str) -> list[list[str]]:
    """Reads "kite 风筝 只; ball 球 个" into rows of fields; an underscore stands for a space."""
    return [[field.replace("_", " ") for field in row.split()] for row in text.split(";") if row.strip()]


def _people(pronoun: str, text: str) -> tuple[Word, ...]:
    child = {"she": ("girl", "女孩"), "he": ("boy", "男孩")}[pronoun]
    return tuple(
        Word(
            {"": name, **_PRONOUNS[pronoun], "girl": child[0]},
            {"": chinese, "she": _CHINESE_PRONOUN[pronoun], "girl": child[1]},
            is_entity=True,
        )
        for name, chinese in _table(text)
    )


def _kin(text: str) -> tuple[Word, ...]:
    return tuple(
        Word(
            {"": name, **_PRONOUNS[pronoun]}, {"": chinese, "she": _CHINESE_PRONOUN[pronoun]}, is_entity=True
        )
        for name, pronoun, chinese in _table(text)
    )


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _objects(text: str) -> tuple[Word, ...]:
    words = []
    for name, chinese, measure, *plural in _table(text):
        forms = {
            "": name,
            "a": f"{_article(name)} {name}",
            "s": plural[0] if plural else name + "s",
            "it": "it",
        }
        words.append(Word(forms, {"": chinese, "m": measure}, is_entity=True))
    return tuple(words)


def _places(text: str) -> tuple[Word, ...]:
    return tuple(
        Word(
            {"": name, "at": f"{preposition} the {name}", "the": f"the {name}"},
            {"": chinese, "at": f"在{chinese}"},
            is_entity=True,
        )
        for preposition, name, chinese in _table(text)
    )


def _plain(text: str) -> tuple[Word, ...]:
    return tuple(
        Word({"": english, "a": f"{_article(english)} {english}"}, {"": chinese})
        for english, chinese in _table(text)
    )


GIRLS = _people(
    "she",
    """Mia 米娅; Lily 莉莉; Anna 安娜; Rosa 罗莎; Emma 艾玛; Nora 诺拉; Zoe 佐伊; Clara 克拉拉; Ivy 艾薇; Maya 玛雅;
    Ruby 露比; Sara 萨拉; Ella 艾拉; Hana 哈娜; Lucy 露西; Tara 塔拉; Nina 妮娜; Mei 小梅; Amina 阿米娜; Freya 芙蕾雅""",
)
BOYS = _people(
    "he",
    """Tom 汤姆; Ben 小本; Leo 里奥; Max 马克斯; Sam 山姆; Jack 杰克; Omar 奥马尔; Finn 芬恩; Noah 诺亚; Paul 保罗;
    Ravi 拉维; Hugo 雨果; Luca 卢卡; Adam 亚当; Peter 彼得; Ivan 伊万; Kai 阿凯; Oscar 奥斯卡; Theo 西奥; Felix 菲利克斯""",
)
PEOPLE = GIRLS + BOYS


def hero_weights(heroines: float) -> Weights:
    """What makes the hero a girl with the probability `heroines`; at 0.5 all names are alike and none is weighed.

    Raises TypeError unless heroines is a number, ValueError unless it is above 0 and below 1.
    """
    if not is_number(heroines):
        raise TypeError(f"heroines is {heroines!r}; it needs a probability above 0 and below 1")
    if not 0 < heroines < 1:
        raise ValueError(f"heroines is {heroines!r}; it needs a probability above 0 and below 1")
    if heroines == 0.5:
        return {}
    girls = dict.fromkeys(GIRLS, heroines / len(GIRLS))
    return {"hero": girls | dict.fromkeys(BOYS, (1 - heroines) / len(BOYS))}


KIN = _kin(
    """mother she 妈妈; father he 爸爸; grandmother she 奶奶; grandfather he 爷爷; aunt she 姑姑; uncle he 叔叔;
    big_sister she 姐姐; big_brother he 哥哥"""
)
HELPERS = _kin(
    """baker he 面包师; gardener she 园丁; postman he 邮递员; farmer she 农夫; teacher she 老师; fisherman he 渔夫;
    painter she 画家; watchman he 守夜人"""
)

TOYS = _objects(
    """kite 风筝 只; ball 球 个; drum 鼓 面; doll 娃娃 个; puppet 木偶 个; boat 小船 只; robot 机器人 个; train 火车 列;
    whistle 哨子 个; balloon 气球 个; bear 小熊 只; wagon 拖车 辆; scooter 滑板车 辆; trumpet 喇叭 把; rocket 火箭 枚;
    truck 卡车 辆; hoop 铁环 个; yo-yo 溜溜球 个; airplane 飞机 架; windmill 风车 个"""
)
TREASURES = _objects(
    """shell 贝壳 枚; button 纽扣 颗; coin 硬币 枚; feather 羽毛 根; stone 石头 块; bell 铃铛 个; ring 戒指 枚;
    ribbon 丝带 条; medal 奖章 枚; pearl 珍珠 颗; bead 珠子 颗; acorn 橡果 颗; compass 指南针 个 compasses;
    marble 弹珠 颗; locket 小吊坠 个; thimble 顶针 枚"""
)
CLOTHES = _objects(
    """hat 帽子 顶; scarf 围巾 条 scarves; coat 外套 件; sweater 毛衣 件; umbrella 雨伞 把; backpack 背包 个;
    cap 便帽 顶; raincoat 雨衣 件; shirt 衬衫 件; jacket 夹克 件"""
)
FOODS = _objects(
    """apple 苹果 个; pear 梨 个; plum 李子 个; cookie 饼干 块; muffin 松饼 个; pancake 煎饼 张; peach 桃子 个 peaches;
    banana 香蕉 根; carrot 胡萝卜 根; biscuit 酥饼 块; tart 蛋挞 个; bun 小面包 个; sandwich 三明治 个 sandwiches;
    egg 鸡蛋 个"""
)
DISHES = _objects(
    "cake 蛋糕 个; pie 馅饼 个; pudding 布丁 份; loaf 面包 条 loaves; pizza 披萨 张; quiche 咸派 个"
)
ANIMALS = _objects(
    """puppy 小狗 只 puppies; kitten 小猫 只; duckling 小鸭 只; rabbit 兔子 只; lamb 小羊 只; turtle 乌龟 只; parrot 鹦鹉 只;
    goat 山羊 只; hedgehog 刺猬 只; squirrel 松鼠 只; owl 猫头鹰 只; pony 小马 匹 ponies"""
)
THINGS = _objects(
    """book 书 本; lamp 台灯 盏; clock 钟 座; basket 篮子 个; cup 杯子 个; vase 花瓶 个; globe 地球仪 个; rope 绳子 根;
    bucket 水桶 个; brush 刷子 把 brushes; pencil 铅笔 支; notebook 笔记本 本; lantern 灯笼 盏; mirror 镜子 面;
    pillow 枕头 个; candle 蜡烛 根; teapot 茶壶 把; saucer 碟子 个; blanket 毯子 条; map 地图 张"""
)
TOOLS = _objects(
    "broom 扫帚 把; rake 耙子 把; stick 棍子 根; pole 竿子 根; paddle 船桨 支; ladder 梯子 架; spade 铁锹 把"
)
UTENSILS = _objects(
    """bowl 碗 个; spoon 勺子 把; pan 平底锅 口; sieve 筛子 个; knife 刀 把 knives; whisk 打蛋器 个; pot 锅 口; jug 壶 把;
    tray 托盘 个; rolling_pin 擀面杖 根"""
)
GARMENTS = _objects(
    "hat 帽子 顶; scarf 围巾 条 scarves; sweater 毛衣 件; cap 便帽 顶; shirt 衬衫 件; jacket 夹克 件; shawl 披肩 条; vest 背心 件"
)
OBJECTS = TOYS + TREASURES + CLOTHES + FOODS + THINGS

PLACES = _places(
    """in park 公园; at beach 海滩; in forest 森林; at market 集市; in library 图书馆; in garden 花园; by river 河边;
    on hill 小山上; by lake 湖边; at station 车站; in museum 博物馆; on playground 操场; at harbor 港口; in meadow 草地;
    by mill 磨坊; at bakery 面包店; in orchard 果园; on bridge 桥上; at fountain 喷泉; by lighthouse 灯塔"""
)

SPOTS = _plain(
    """under_the_bed 床底下; behind_the_door 门后面; on_the_shelf 架子上; in_the_drawer 抽屉里; beside_the_window 窗边;
    under_the_table 桌子底下; behind_the_curtain 窗帘后面; on_the_chair 椅子上; in_the_big_box 大箱子里;
    next_to_the_stove 炉子旁; under_the_stairs 楼梯下; in_the_cupboard 橱柜里; behind_the_sofa 沙发后面;
    in_the_hall 走廊里; on_the_porch 门廊上; in_the_shed 棚子里"""
)
COLORS = _plain(
    """red 红色; blue 蓝色; green 绿色; yellow 黄色; purple 紫色; orange 橙色; white 白色; black 黑色; pink 粉色; brown 棕色;
    silver 银色; golden 金色"""
)
TRAITS = _plain(
    """curious 好奇; kind 善良; brave 勇敢; quiet 安静; cheerful 开朗; clever 聪明; shy 害羞; patient 耐心; stubborn 倔强;
    gentle 温柔; lively 活泼; careful 细心; thoughtful 体贴; funny 有趣; dreamy 爱幻想; polite 礼貌"""
)
WEATHERS = _plain(
    "sunny 晴朗; rainy 下雨; windy 刮风; cloudy 多云; foggy 起雾; warm 暖和; cold 寒冷; bright 明亮; snowy 下雪; mild 温和"
)
DAYTIMES = _plain("morning 早晨; afternoon 下午; day 日子; evening 傍晚")
WEEKDAYS = _plain(
    "Monday 星期一; Tuesday 星期二; Wednesday 星期三; Thursday 星期四; Friday 星期五; Saturday 星期六; Sunday 星期日"
)
GLAD = _plain(
    "happy 高兴; glad 开心; content 知足; delighted 欣喜; grateful 感激; merry 快活; joyful 喜悦; pleased 满意"
)
SAD = _plain(
    "sad 难过; upset 伤心; worried 担心; gloomy 郁闷; lonely 孤单; miserable 痛苦; unhappy 不开心; troubled 苦恼"
)
SIZES = _plain("small 小; little 小小; tiny 很小; old 旧; pretty 漂亮; lovely 可爱; fine 精美; shiny 闪亮")
CHORES = _plain(
    """eat_lunch 吃午饭; help_in_the_kitchen 厨房帮忙; feed_the_hens 喂母鸡; water_the_plants 浇花; read_a_book 看书;
    sweep_the_floor 扫地; practice_the_piano 练钢琴; wash_the_dishes 洗碗; take_a_nap 睡午觉; fold_the_laundry 叠衣服"""
)
SOUNDS = _plain(
    "an_owl 一只猫头鹰; the_wind 风; a_loose_shutter 一扇松了的百叶窗; a_branch 一根树枝; the_old_clock 旧钟; a_mouse 一只老鼠"
)
FLOWERS = _plain(
    "rose 玫瑰; tulip 郁金香; sunflower 向日葵; daisy 雏菊; poppy 罂粟花; lily 百合; iris 鸢尾花; violet 紫罗兰"
)


def _number(english: str, chinese: str, counting: str) -> Word:
    return Word({"": english, "N": english.capitalize()}, {"": chinese, "m": counting})


NUMBERS = {
    n: _number(english, chinese, counting)
    for n, (english, chinese, counting) in enumerate(
        [
            ("one", "一", "一"),
            ("two", "二", "两"),
            ("three", "三", "三"),
            ("four", "四", "四"),
            ("five", "五", "五"),
            ("six", "六", "六"),
            ("seven", "七", "七"),
            ("eight", "八", "八"),
            ("nine", "九", "九"),
        ],
        start=1,
    )
}
_VALUE = {word: n for n, word in NUMBERS.items()}


def difference(whole: str, part: str):
    """For `Let`: the number that is left of `whole` when `part` is taken away."""
    return lambda words: NUMBERS[_VALUE[words[whole]] - _VALUE[words[part]]]


VARIABLES: dict[str, tuple[Word, ...]] = {
    "hero": PEOPLE,
    "friend": PEOPLE,
    "third": PEOPLE,
    "kin": KIN,
    "helper": HELPERS,
    "toy": TOYS,
    "toy2": TOYS,
    "treasure": TREASURES,
    "treasure2": TREASURES,
    "treasure3": TREASURES,
    "clothing": CLOTHES,
    "clothing2": CLOTHES,
    "food": FOODS,
    "food2": FOODS,
    "food3": FOODS,
    "dish": DISHES,
    "animal": ANIMALS,
    "animal2": ANIMALS,
    "animal3": ANIMALS,
    "tool": TOOLS,
    "utensil": UTENSILS,
    "utensil2": UTENSILS,
    "garment": GARMENTS,
    "thing": OBJECTS,
    "thing2": OBJECTS,
    "thing3": OBJECTS,
    "place": PLACES,
    "place2": PLACES,
    "spot": SPOTS,
    "spot2": SPOTS,
    "spot3": SPOTS,
    "color": COLORS,
    "color2": COLORS,
    "color3": COLORS,
    "color4": COLORS,
    "trait": TRAITS,
    "weather": WEATHERS,
    "daytime": DAYTIMES,
    "weekday": WEEKDAYS,
    "glad": GLAD,
    "glad2": GLAD,
    "sad": SAD,
    "size": SIZES,
    "size2": SIZES,
    "chore": CHORES,
    "sound": SOUNDS,
    "flower": FLOWERS,
    "count": tuple(NUMBERS[n] for n in (5, 6, 7, 8)),
    "given": tuple(NUMBERS[n] for n in (2, 3)),
    "left": (),
    "days": tuple(NUMBERS[n] for n in (3, 4, 6, 7, 9)),
}
