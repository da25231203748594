"""vLLM's sampling without the rows of the head that no tokenizer emits. Loaded by vLLM only."""

from vllm.v1.sample.logits_processor import LogitsProcessor


class MaskUnusedIds(LogitsProcessor):
    """Ids from ids_in_use on are never sampled, as in the built-in decoder."""

    def __init__(self, vllm_config, device, is_pin_memory):
        self.ids_in_use = vllm_config.additional_config["ids_in_use"]

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update):
        pass

    def apply(self, logits):
        logits[:, self.ids_in_use :] = float("-inf")
        return logits
