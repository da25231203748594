"""One ChatML renderer for training, generation and evaluation.

    chat = Chat(load_tokenizer("Qwen/Qwen2.5-0.5B")[0])
    prompt = chat.prompt("What is 2+2?")        # ids ending at `<|im_start|>assistant\\n`
    answer = chat.answer("4")                   # ids ending in <|im_end|>, the target verbatim

Prompt and answer are tokenised separately, so no merge crosses their boundary and inference sees
the ids that training saw. Content is encoded without added tokens, except the two think tags: only
the renderer emits control ids.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer

from common import hub

NO_THINKING = "<think>\n\n</think>\n\n"  # what Qwen3's template appends for enable_thinking=False

# What model/ carries: our rendering, with the run's system prompt (or none) where none is given.
TEMPLATE = """\
{%- if messages[0].role != 'system' and SYSTEM != '' %}
    {{- '<|im_start|>system\\n' + SYSTEM + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + CONTENT + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\nTOGGLE' }}
{%- endif %}"""
# A teacher's earlier answers lose their thinking, and a toggle is added, both as in Qwen3's.
ANSWER = """\
(message.content.split('</think>')[-1].lstrip('\\n') if message.role == 'assistant' else \
message.content)"""
TOGGLE = "' + ('<think>\\n\\n</think>\\n\\n' if enable_thinking is false else '') + '"


def load_tokenizer(source: str | Path, flag: str = "--init") -> tuple[Tokenizer, dict]:
    """tokenizer.json and tokenizer_config.json of a local folder or Hub id.

    Raises hub.UserError where there is none, or one that cannot be read.
    """
    folder = hub.fetch(str(source), files=hub.TOKENIZER_FILES, flag=flag)
    if not (file := folder / "tokenizer.json").is_file():
        raise hub.UserError(f"{flag} {source}: no tokenizer.json there")
    settings = {}
    try:
        if (config := folder / "tokenizer_config.json").is_file():
            settings = json.loads(config.read_text(encoding="utf-8"))
        if (template := folder / "chat_template.jinja").is_file():
            settings["chat_template"] = template.read_text(encoding="utf-8")
        return Tokenizer.from_str(file.read_text(encoding="utf-8")), settings
    except Exception as error:  # tokenizers raises nothing more special
        raise hub.UserError(f"{flag} {source}: its tokenizer cannot be read: {error}") from error


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that encodes control tokens, except the think tags, as plain text."""
    fields = json.loads(tokenizer.to_str())
    for token in fields["added_tokens"]:
        token["special"] = token["content"] not in ("<think>", "</think>")
    copy = Tokenizer.from_str(json.dumps(fields))
    copy.encode_special_tokens = True
    copy.no_truncation()
    copy.no_padding()
    return copy


class Chat:
    """Renders conversations with `tokenizer` (a tokenizers.Tokenizer that has ChatML's ids).

    Raises hub.UserError for a tokenizer without them.
    """

    def __init__(self, tokenizer: Tokenizer):
        control = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
        if missing := [token for token in control if tokenizer.token_to_id(token) is None]:
            raise hub.UserError(f"the tokenizer has no {', '.join(missing)}: not a ChatML student")
        self.start, self.end, self.endoftext = map(tokenizer.token_to_id, control)
        self.source = tokenizer.to_str(pretty=True)  # tokenizer.json as the base has it
        self.tokenizer = plain(tokenizer)
        self.newline = self.encode("\n")
        self.opening = [self.start, *self.encode("assistant\n")]
        self.stop_ids = [self.end, self.endoftext]
        self.ids_in_use = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, encoded on all cores and without offsets."""
        return [e.ids for e in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def turn(self, role: str, content: str) -> list[int]:
        return self.close(self.encode(f"{role}\n{content}"))

    def close(self, ids: list[int]) -> list[int]:
        """<|im_start|> ids <|im_end|> newline"""
        return [self.start, *ids, self.end, *self.newline]

    def system(self, text: str) -> list[int]:
        """Ids of the system turn; none for an empty system prompt."""
        return self.turn("system", text) if text else []

    def prompt(self, messages, system: str = "", thinking: bool | None = None) -> list[int]:
        """Ids of a prompt up to where the assistant's answer begins.

        messages: the user's text, or a list of {"role", "content"}. thinking: a Qwen3 *teacher's*
        toggle; False appends the empty think block, True nothing, and either drops the thinking of
        earlier answers as Qwen3's template does. None, for students, leaves every string as it is.
        """
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        ids = self.system(system)
        for message in messages:
            role, content = message["role"], message["content"]
            if thinking is not None and role == "assistant":
                content = content.split("</think>")[-1].lstrip("\n")
            ids += self.turn(role, content)
        if thinking is False:
            return ids + [self.start, *self.encode(f"assistant\n{NO_THINKING}")]
        return ids + self.opening

    def answer(self, text: str) -> list[int]:
        """Ids of an answer: its text verbatim, then <|im_end|>. All of them are targets."""
        return [*self.encode(text), self.end]

    def decode(self, ids) -> str:
        return self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)


def template(system: str = "", is_teacher: bool = False) -> str:
    """The Jinja chat template for model/, which renders as Chat does with this system prompt.

    is_teacher: with Qwen3's toggle, enable_thinking.
    """
    for raw, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
        system = system.replace(raw, escaped)
    content, toggle = (ANSWER, TOGGLE) if is_teacher else ("message.content", "")
    text = TEMPLATE.replace("CONTENT", content).replace("TOGGLE", toggle)
    return text.replace("SYSTEM", f"'{system}'")
