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

from common import hub
from data.chat import Chat, load_tokenizer, plain


@dataclass(frozen=True)
class Toggle:
    """How a family switches reasoning, and what its card samples with, as Sampling's fields."""

    sign: str  # what in a chat template shows it
    switch: tuple[str, str]  # the system message for off and on
    ift: dict
    reasoning: dict


THINKING = dict(temperature=0.6, top_p=0.95)
QWEN = (dict(temperature=0.7, top_p=0.8, top_k=20), {**THINKING, "top_k": 20})
NEMOTRON = (dict(temperature=0.0), THINKING)
TOGGLES = {  # in the order in which they are looked for
    "nemotron-v1": Toggle("detailed thinking", ("detailed thinking off", "detailed thinking on"),
                          *NEMOTRON),
    "nemotron": Toggle("/no_think", ("/no_think", "/think"), *NEMOTRON),
    "qwen3": Toggle("enable_thinking", ("", ""), *QWEN),
}  # fmt: skip
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
            raise hub.UserError(
                f"--teacher {source}: its chat template shows no switch for thinking that is known;"
                f" pass --toggle {' or '.join(TOGGLES)} if it has one"
            )
        self.toggle, self.spec = toggle, TOGGLES[toggle]
        self.template = compiled(template, settings) if template else None
        self.plain = plain(self.tokenizer)
        try:
            self.chat = Chat(self.tokenizer)
        except hub.UserError as error:
            self.chat = None
            if not template:
                raise hub.UserError(f"--teacher {source}: {error}, and no chat template") from error
        if self.chat and self.template and not all(map(self.renders_as_chat, (False, True))):
            self.chat = None
        self.stop_ids = self.find_stop_ids(source, settings)
        if self.prompt(PROBE[1:2], False) == self.prompt(PROBE[1:2], True):
            raise hub.UserError(
                f"--teacher {source}: --toggle {toggle} changes nothing in its prompts; its chat"
                " template has another switch, or none"
            )

    def rendering(self) -> str:
        """A hash of how prompts are rendered in both modes: another template is another teacher."""
        ids = [self.prompt(PROBE[1:2], thinking) for thinking in (False, True)]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]

    def renders_as_chat(self, thinking: bool) -> bool:
        try:
            return all(
                self.chat.decode(self.chat.prompt(messages, thinking=thinking))
                == self.template(messages=messages, enable_thinking=thinking)
                for messages in (PROBE, PROBE[1:2])
            )
        except hub.UserError:  # a template that refuses system messages, say
            return False

    def find_stop_ids(self, source: str, settings: dict) -> list[int]:
        file = hub.fetch(source, files=hub.TOKENIZER_FILES, flag="--teacher")
        file /= "generation_config.json"
        try:
            fields = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        except ValueError as error:
            raise hub.UserError(f"{file}: cannot be read ({error})") from error
        ids = fields.get("eos_token_id", [])
        ids = [ids] if isinstance(ids, int) else list(ids or [])
        eos = settings.get("eos_token")
        eos = eos.get("content") if isinstance(eos, dict) else eos
        ids += [self.tokenizer.token_to_id(eos)] if eos else []
        ids += self.chat.stop_ids if self.chat else []
        ids = list(dict.fromkeys(i for i in ids if i is not None))
        if not ids:
            raise hub.UserError(f"--teacher {source}: no eos_token_id in {file} to end answers")
        return ids

    def sampling(self, alike: bool) -> dict:
        """{mode: how its family samples it}; alike: both modes as reasoning."""
        reasoning = self.spec.reasoning
        return {"ift": reasoning if alike else self.spec.ift, "reasoning": reasoning}

    def prompt(self, messages: list[dict], thinking: bool) -> list[int]:
        """Ids up to the place where the answer begins. System messages and earlier turns stay."""
        if switch := self.spec.switch[thinking]:
            messages = [dict(message) for message in messages]
            if messages[0]["role"] != "system":
                messages.insert(0, {"role": "system", "content": switch})
            else:
                messages[0]["content"] = f"{switch}\n\n{messages[0]['content']}"
        if self.chat:
            is_qwen = self.toggle == "qwen3"
            return self.chat.prompt(messages, thinking=thinking if is_qwen else None)
        return self.by_template(messages, thinking)

    def fits(self, messages: list[dict], context: int) -> bool:
        """Whether both modes leave room for an answer; only long texts are tokenised to tell."""
        size = sum(len(m["content"].encode()) + 100 for m in messages)  # a token is >= 1 byte
        return size < context or all(
            len(self.prompt(messages, thinking)) < context for thinking in (False, True)
        )

    def by_template(self, messages: list[dict], thinking: bool) -> list[int]:
        """The template's text as ids; a control token inside a message stays plain text."""
        control = [t.content for t in self.tokenizer.get_added_tokens_decoder().values()]
        contents, marked = [], []
        for message in messages:
            plain = [token for token in control if "think" not in token] + ["\ue000"]
            if any(token in message["content"] for token in plain):
                contents.append(message["content"])
                message = {**message, "content": f"\ue000{len(contents) - 1}\ue001"}
            marked.append(message)
        text = self.template(messages=marked, enable_thinking=thinking)
        ids = []
        for i, part in enumerate(re.split("\ue000(\\d+)\ue001", text)):
            if i % 2:
                ids += self.plain.encode(contents[int(part)], add_special_tokens=False).ids
            else:
                ids += self.tokenizer.encode(part, add_special_tokens=False).ids
        return ids

    def opening(self) -> str:
        """What of the reasoning answer stands in the prompt already: "<think>\\n" in some."""
        text = self.tokenizer.decode(self.prompt(PROBE[1:2], True), skip_special_tokens=False)
        return "<think>\n" if text.rstrip().endswith("<think>") else ""


def compiled(template: str, settings: dict):
    """A chat template as a function of its variables, in an environment like transformers'."""
    from datetime import datetime

    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message):
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = lambda x, **how: json.dumps(x, ensure_ascii=False, **how)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda how: datetime.now().strftime(how)
    tokens = {key: settings[key] for key in ("bos_token", "eos_token") if key in settings}
    tokens = {k: t["content"] if isinstance(t, dict) else t or "" for k, t in tokens.items()}
    # marks what an assistant wrote, for training; transformers renders what is between the two
    template = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", template)

    def render(**variables) -> str:
        try:
            made = environment.from_string(template)  # which jinja2 caches
            return made.render(
                add_generation_prompt=True, tools=None, documents=None, **tokens, **variables
            )
        except TemplateError as error:
            raise hub.UserError(f"the chat template refuses a conversation: {error}") from error

    return render
