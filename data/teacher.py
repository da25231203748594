"""A teacher's two modes: prompts rendered with its reasoning off and on, and nothing else changed.

    teacher = Teacher("Qwen/Qwen3-8B")
    off, on = (teacher.prompt(messages, thinking) for thinking in (False, True))

The toggle is named, or seen in the chat template. Where the template renders as Chat does (Qwen's
own), Chat renders; else the template does, in a sandbox, as transformers would run it.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime

from common import hub
from data.chat import Chat, load_tokenizer, plain


@dataclass(frozen=True)
class Toggle:
    """How a family switches reasoning, and what its card samples with, as Sampling's fields."""

    sign: str  # the text in a chat template that shows it
    system: tuple[str, str]  # the system message that turns reasoning off, and on ("": none)
    ift: dict
    reasoning: dict


THINKING = dict(temperature=0.6, top_p=0.95)
QWEN = (dict(temperature=0.7, top_p=0.8, top_k=20), {**THINKING, "top_k": 20})
NEMOTRON = (dict(temperature=0.0), THINKING)
TOGGLES = {  # in the order in which they are looked for
    "nemotron-v1": Toggle(
        "detailed thinking", ("detailed thinking off", "detailed thinking on"), *NEMOTRON
    ),
    "nemotron": Toggle("/no_think", ("/no_think", "/think"), *NEMOTRON),
    "qwen3": Toggle("enable_thinking", ("", ""), *QWEN),
}
PROBE = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": "<think>\nt\n</think>\n\na"},
    {"role": "user", "content": "v"},
]


class Teacher:
    """Renders and reads a teacher, a path or Hub id. toggle: a name of TOGGLES, or auto.

    stop_ids: what ends its answers. Raises hub.UserError for a teacher whose toggle is not known.
    """

    def __init__(self, source: str, toggle: str = "auto"):
        source = str(source)
        self.tokenizer, settings = load_tokenizer(source, "--teacher")
        template = settings.get("chat_template") or ""
        if isinstance(template, list):  # several by name
            template = {t["name"]: t["template"] for t in template}.get("default", "")
        if toggle == "auto":
            toggle = next((name for name, t in TOGGLES.items() if t.sign in template), None)
        if toggle not in TOGGLES:
            problem = "its chat template shows no switch for thinking that is known"
            hint = f"pass --toggle {' or '.join(TOGGLES)} if it has one"
            raise hub.UserError(f"--teacher {source}: {problem}; {hint}")
        self.toggle, self.spec = toggle, TOGGLES[toggle]
        self.template = compiled(template, settings) if template else None
        self.plain, self.chat = plain(self.tokenizer), None  # chat: where it renders alike
        try:
            chat = Chat(self.tokenizer)
            if not template or self.renders_as(chat):
                self.chat = chat
        except hub.UserError as error:  # no ChatML ids, or a template that refuses the probes
            if not template:
                raise hub.UserError(f"--teacher {source}: {error}, and no chat template") from error
        self.stop_ids = self.find_stop_ids(source, settings)
        self.probes = [self.prompt(PROBE[1:2], thinking) for thinking in (False, True)]
        if self.probes[0] == self.probes[1]:
            problem = f"--toggle {toggle} changes nothing in its prompts"
            hint = "its chat template has another switch, or none"
            raise hub.UserError(f"--teacher {source}: {problem}; {hint}")

    def rendering(self) -> str:
        """A hash of how prompts are rendered in both modes: another template is another teacher."""
        return hashlib.sha256(json.dumps(self.probes).encode()).hexdigest()[:16]

    def renders_as(self, chat: Chat) -> bool:
        return all(
            chat.decode(chat.prompt(messages, thinking=thinking))
            == self.template(messages=messages, enable_thinking=thinking)
            for messages in (PROBE, PROBE[1:2])
            for thinking in (False, True)
        )

    def find_stop_ids(self, source: str, settings: dict) -> list[int]:
        """Ids of generation_config.json, of the tokenizer's eos_token, and of ChatML."""
        folder = hub.fetch(source, files=hub.TOKENIZER_FILES, flag="--teacher")
        file = folder / "generation_config.json"
        try:
            fields = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        except ValueError as error:
            raise hub.UserError(f"{file}: cannot be read ({error})") from error
        ids = fields.get("eos_token_id")
        ids = [ids] if isinstance(ids, int) else list(ids or [])
        eos = settings.get("eos_token")
        eos = eos.get("content") if isinstance(eos, dict) else eos
        ids += [self.tokenizer.token_to_id(eos)] if eos else []
        ids += self.chat.stop_ids if self.chat else []
        ids = list(dict.fromkeys(i for i in ids if i is not None))
        if not ids:
            raise hub.UserError(f"--teacher {source}: no eos_token_id in {file} to end answers")
        return ids

    def sampling(self, same: bool) -> dict:
        """{mode: how its family samples it}; same: both modes as reasoning."""
        reasoning = self.spec.reasoning
        return {"ift": reasoning if same else self.spec.ift, "reasoning": reasoning}

    def prompt(self, messages: list[dict], thinking: bool) -> list[int]:
        """Ids up to the place where the answer begins. System messages and earlier turns stay."""
        if system := self.spec.system[thinking]:
            first, *others = messages
            if first["role"] == "system":
                messages, system = others, f"{system}\n\n{first['content']}"
            messages = [{"role": "system", "content": system}, *messages]
        if not self.chat:
            return self.by_template(messages, thinking)
        return self.chat.prompt(messages, thinking=thinking if self.toggle == "qwen3" else None)

    def fits(self, messages: list[dict], context: int) -> bool:
        """Whether both modes leave room for an answer; only long texts are tokenised to tell."""
        size = sum(len(m["content"].encode()) + 100 for m in messages)  # a token is >= 1 byte
        is_short = size < context
        return is_short or max(len(self.prompt(messages, on)) for on in (False, True)) < context

    def by_template(self, messages: list[dict], thinking: bool) -> list[int]:
        """The template's text as ids; a control token inside a message stays plain text."""
        tokens = [t.content for t in self.tokenizer.get_added_tokens_decoder().values()]
        control = [token for token in tokens if "think" not in token] + ["\ue000"]
        contents, marked = [], []
        for message in messages:
            if any(token in message["content"] for token in control):
                contents.append(message["content"])
                message = {**message, "content": f"\ue000{len(contents) - 1}\ue001"}
            marked.append(message)
        text, ids = self.template(messages=marked, enable_thinking=thinking), []
        for i, segment in enumerate(re.split("\ue000(\\d+)\ue001", text)):
            tokenizer = self.plain if i % 2 else self.tokenizer
            segment = contents[int(segment)] if i % 2 else segment
            ids += tokenizer.encode(segment, add_special_tokens=False).ids
        return ids

    def reasoning_prefix(self) -> str:
        """What of a reasoning answer is part of the prompt: "<think>\\n" in some templates."""
        text = self.tokenizer.decode(self.probes[True], skip_special_tokens=False)
        return "<think>\n" if text.rstrip().endswith("<think>") else ""


def compiled(template: str, settings: dict):
    """A chat template as a function of its variables, in an environment like transformers'."""
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message):
        raise TemplateError(message)

    options = {"trim_blocks": True, "lstrip_blocks": True, "extensions": [loopcontrols]}
    environment = ImmutableSandboxedEnvironment(**options)
    environment.filters["tojson"] = lambda x, **how: json.dumps(x, ensure_ascii=False, **how)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda how: datetime.now().strftime(how)
    given = {key: settings[key] for key in ("bos_token", "eos_token") if key in settings}
    given = {k: t["content"] if isinstance(t, dict) else t or "" for k, t in given.items()}
    given |= {"add_generation_prompt": True, "tools": None, "documents": None}
    # marks what an assistant wrote, for training; transformers renders what is between the two
    template = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", template)

    def render(**variables) -> str:
        try:
            return environment.from_string(template).render(**given, **variables)  # cached
        except TemplateError as error:
            raise hub.UserError(f"the chat template refuses a conversation: {error}") from error

    return render
