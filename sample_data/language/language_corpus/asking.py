"""Passages, and what is asked of them: fields that they answer, and fields that they do not."""

from language_corpus import fields
from language_corpus.fields import Asked, Present
from language_corpus.forms import attributes
from language_corpus.scenes import ALL, DOMAINS, SHARED, Field, Frame, Scene, make_scene, noise, tell
from language_corpus.template import Draw


def passage(draw: Draw, language: str, most: int, extra: list[str] | None = None) -> tuple[list[Scene], str]:
    """Scenes of one field and the text that tells them, other sentences among theirs."""
    while True:
        domain = ALL[draw.pick(DOMAINS)]
        frames, shared = domain.frames, {}
        count = 1 + int(draw.chance() ** 1.3 * most)
        same = draw.pick(frames) if draw.chance() < 0.3 else None
        scenes = [
            make_scene(same if same and draw.chance() < 0.7 else draw.pick(frames), draw, language, shared=shared)
            for _ in range(count)
        ]
        text = tell(scenes, language, draw, extra)
        if text is not None:
            return scenes, text


def nothing(draw: Draw, language: str) -> str:
    """A text that answers nothing, or none at all."""
    if draw.chance() < 0.3:
        return ""
    domain = ALL[draw.pick(DOMAINS)]
    end = ". " if language == "en" else "。"
    return end.join(noise(domain, language, draw) for _ in range(1 + int(draw.chance() * 3))) + end.strip()


def mixed(
    draw: Draw, language: str, names: str, style: str, scenes_most: int, most: int
) -> tuple[list[Scene], str, list[Asked]]:
    """A passage of scenes, attributes of anything among them now and then, and what is asked of it.

    A field of an attribute is asked only where no field of the scenes could be meant by its name.
    """
    if draw.chance() < 0.03:
        text = nothing(draw, language)
        return [], text, choose([], names, style, draw, 0)
    if draw.chance() < 0.72:
        scenes, text = passage(draw, language, scenes_most)
        return scenes, text, choose(scenes, names, style, draw, most)
    sentences, told, others = attributes(draw, language, names, style, 1, 4)
    scenes, text = passage(draw, language, scenes_most, sentences)
    asked = choose(scenes, names, style, draw, most, [(each.words, kind, surface) for each, kind, surface in told])
    alone = Present(scenes, names)
    for each in [each for each, _, _ in told] + others:
        known = each.words.lower() in alone.names or any(each.key == one.key for one in asked)
        if not known and draw.chance() < 0.6:
            asked.insert(int(draw.chance() * (len(asked) + 1)), each)
    return scenes, text, asked[: most + 3]


def choose(
    scenes: list[Scene],
    names: str,
    style: str,
    draw: Draw,
    most: int,
    others: list[tuple[str, str, str]] | None = None,
) -> list[Asked]:
    """Some fields that the passage answers and some that it does not, none twice, in any order.

    ``others`` are names, kinds and texts that the passage has beside its scenes.
    """
    present = Present(scenes, names, others)
    chosen: dict[str, Asked] = {}
    here = [(scene, each) for scene in scenes for each in scene.frame.fields if each.slot in scene.values]
    draw.random.shuffle(here)
    wanted = 1 + int(draw.chance() * most)
    absent = 0 if draw.chance() < 0.3 else 1 + int(draw.chance() ** 2 * 3)
    if draw.chance() < 0.05:
        wanted = 0
    for scene, each in here:
        if len(chosen) >= wanted:
            break
        asked = fields.found(scene, each, present, names, style, draw)
        if asked and asked.key not in chosen:
            chosen[asked.key] = asked
    frames = [scene.frame for scene in scenes]
    if len(scenes) > 1 and draw.chance() < 0.3:
        for _ in range(1 + int(draw.chance() * 3)):
            asked = _of_owner(scenes, names, style, draw)
            if asked and asked.key not in chosen:
                chosen[asked.key] = asked
    for _ in range(absent or (1 if not chosen else 0)):
        asked = fields.missing(frames or draw.pick(list(ALL.values())).frames, present, names, style, draw)
        if asked and asked.key not in chosen:
            chosen[asked.key] = asked
    order = list(chosen.values())
    draw.random.shuffle(order)
    return order


def options(draw: Draw, language: str, names: str, style: str) -> tuple[str, list[Asked]]:
    """Several things of one kind, each with one of the same options: signs that are there or not, and the like."""
    frame = draw.pick(OPTIONAL)
    domain = frame.domain
    while True:
        scenes = [make_scene(frame, draw, language) for _ in range(1 + int(draw.chance() * 4))]
        scenes += [make_scene(draw.pick(domain.frames), draw, language) for _ in range(int(draw.chance() * 3))]
        draw.random.shuffle(scenes)
        text = tell(scenes, language, draw)
        if text is not None:
            break
    present, field = Present(scenes, names), _optional(frame)
    asked: dict[str, Asked] = {}
    for scene in scenes:
        each = fields.found(scene, field, present, names, style, draw) if scene.frame is frame else None
        if each and draw.chance() < 0.85:
            asked.setdefault(each.key, each)
    for _ in range(40):
        if len(asked) >= 2 and draw.chance() < 0.5:
            break
        each = fields.missing([frame], present, names, style, draw, field)
        if each and each.enum and each.schema.get("enum"):
            asked.setdefault(each.key, each)
    alike = [each for each in asked.values() if "enum" in each.schema]
    for each in alike:
        each.schema, each.enum = alike[0].schema, alike[0].enum
    draw.random.shuffle(alike)
    return text, alike[:6]


def _optional(frame: Frame) -> Field | None:
    return next((each for each in frame.fields if each.enum and each.by), None)


OPTIONAL = [frame for domain in ALL.values() for frame in domain.frames if _optional(frame)]
OPTIONAL += [frame for frame in OPTIONAL if frame.name == "sign"] * 4


def _of_owner(scenes: list[Scene], names: str, style: str, draw: Draw) -> Asked | None:
    """A field of one named thing: "revenue of Larkhaven", where other companies, or other facts of it, stand beside.

    Half of them join the thing of one scene and the fact of another, which is not there.
    """
    teller, owning = draw.pick(scenes), draw.pick(scenes)
    owners = [slot for slot in owning.values if owning.frame.slots[slot] in SHARED and slot in owning.surfaces]
    known = [each for each in teller.frame.fields if each.slot in teller.values and each.slot not in owners]
    if not owners or not known:
        return None
    owner, field = owning.surfaces[draw.pick(owners)], draw.pick(known)
    if len(owner) < 4 or teller.surfaces.get(field.slot) == owner:
        return None
    asked = fields.found(teller, field, Present([teller], names), names, style, draw)
    if asked is None:
        return None
    its = Present([scene for scene in scenes if owner in scene.surfaces.values()], names)
    plain = asked.words.removesuffix(" percent").removesuffix(" mm").removesuffix("（%）").removesuffix("（毫米）")
    if owner in teller.surfaces.values():
        if len(its.names.get(plain.lower(), ())) != 1:
            return None
    elif plain.lower() in its.names or its.kinds.get(fields.kind_of(teller.values[field.slot].kind)):
        return None
    else:
        asked.answer = asked.surface = None
    asked.words = f"{asked.words} of {owner}" if names == "en" else f"{owner}的{asked.words}"
    asked.key = fields.style_key(asked.words, style)
    return asked
