"""The vLLM engine: worker processes, one for every group of GPUs."""

import importlib.util
import itertools
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import wait

import torch

from common import hub
from data.chat import load_tokenizer
from engine.request import Completion, Request, Settings, ids_in_use, sampling_fields, text_of


class VLLM:
    """vLLM, one process for every group of GPUs; the least busy one gets the next request."""

    def __init__(self, model: str, settings: Settings):
        if not importlib.util.find_spec("vllm"):
            raise hub.UserError("--engine vllm: it is not installed; pip install '.[vllm]'")
        folder = hub.fetch(model, files=(*hub.TOKENIZER_FILES, *hub.WEIGHT_FILES))
        self.tokenizer, _ = load_tokenizer(folder)
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        gpus = gpus.split(",") if gpus else [str(i) for i in range(torch.cuda.device_count())]
        size, groups = settings.tensor_parallel, settings.data_parallel
        if gpus and len(gpus) < size * groups:
            raise hub.UserError(
                f"--tensor-parallel {size} --data-parallel {groups}: there are {len(gpus)} GPUs"
            )
        self.batch = settings.batch or 256
        arguments = {
            "model": str(folder),
            "dtype": {"bf16": "bfloat16", "fp32": "float32"}.get(settings.dtype, "auto"),
            "tensor_parallel_size": size,
            "max_num_seqs": self.batch,
            "max_model_len": settings.context or None,
            "generation_config": "vllm",  # no sampling defaults of the model's
            "enforce_eager": not gpus,
            "disable_log_stats": True,
            "logits_processors": ["engine.unused_ids:MaskUnusedIds"],
            "additional_config": {"ids_in_use": ids_in_use(self.tokenizer)},
        }
        context = multiprocessing.get_context("spawn")
        self.workers, self.numbers = {}, itertools.count()
        for i in range(groups):
            here, there = context.Pipe()
            group = gpus[i * size : (i + 1) * size]
            process = context.Process(target=vllm_worker, args=(there, group, arguments))
            process.start()
            there.close()  # so that either side sees the other end
            self.workers[here] = process
        try:
            for pipe in self.workers:
                self.name, self.context = self.receive(pipe)
        except BaseException:
            self.close()
            raise

    def close(self):
        for pipe in self.workers:
            pipe.close()  # the worker ends when it sees that
        for process in self.workers.values():
            process.join(30)
            if process.is_alive():
                os.killpg(process.pid, signal.SIGKILL)  # vLLM's own processes with it

    def receive(self, pipe):
        try:
            answer = pipe.recv()
        except EOFError:
            self.workers[pipe].join()
            answer = f"its process ended with code {self.workers[pipe].exitcode}"
        if isinstance(answer, str):
            raise hub.UserError(f"--engine vllm: {answer}")
        return answer

    def complete(self, requests: Iterable[Request]) -> Iterator[Completion]:
        source, pending = iter(requests), {pipe: {} for pipe in self.workers}
        while True:
            while True:
                pipe = min(pending, key=lambda pipe: len(pending[pipe]))
                is_full = len(pending[pipe]) >= 2 * self.batch  # one half waits in the engine
                if is_full or (request := next(source, None)) is None:
                    break
                fields = sampling_fields(request, self.context)
                fields |= {"ignore_eos": True, "detokenize": bool(request.sampling.stop)}
                pending[pipe][number := next(self.numbers)] = request
                pipe.send((str(number), request.prompt, fields))
            if not any(pending.values()):
                return
            for pipe in wait(list(pending)):
                number, ids, reason = self.receive(pipe)
                if (request := pending[pipe].pop(number, None)) is None:
                    continue  # of an earlier caller who did not wait
                text = text_of(self.tokenizer, ids, request.sampling)
                yield Completion(request.id, text, ids, reason, len(request.prompt), len(ids))


def vllm_worker(pipe, gpus: list[str], arguments: dict):
    """A process with one vLLM engine: requests in, (number, ids, reason) out, until the pipe ends.

    A thread takes the requests in, so that neither side waits for the other to read.
    """
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    os.setpgid(0, 0)  # Ctrl-C is for the parent, which closes the pipe
    inbox = queue.SimpleQueue()

    def listen():
        with suppress(EOFError, OSError):
            while True:
                inbox.put(pipe.recv())
        inbox.put(None)

    llm = None
    try:
        import vllm
        from vllm.sampling_params import RequestOutputKind

        llm = vllm.LLMEngine.from_engine_args(vllm.EngineArgs(**arguments))
        pipe.send((f"vllm {vllm.__version__}", llm.model_config.max_model_len))
        threading.Thread(target=listen, daemon=True).start()
        while True:
            while not (inbox.empty() and llm.has_unfinished_requests()):
                if (item := inbox.get()) is None:
                    return
                number, prompt, fields = item
                params = vllm.SamplingParams(**fields, output_kind=RequestOutputKind.FINAL_ONLY)
                llm.add_request(number, {"prompt_token_ids": prompt}, params)
            for output in llm.step():
                if output.finished:
                    answer = output.outputs[0]
                    ids, reason = list(answer.token_ids), answer.finish_reason
                    pipe.send((int(output.request_id), ids, reason))
    except BrokenPipeError:
        return  # the parent has ended
    except Exception as error:
        traceback.print_exc()
        pipe.send(f"{type(error).__name__}: {error}")
    finally:
        if llm:
            llm.engine_core.shutdown()  # or its processes stay
