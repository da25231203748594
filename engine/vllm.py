"""The engine of vLLM, in processes of its own."""

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
from engine.request import Completion, Request, Settings, ids_in_use, room_for, text_of


class VLLM:
    """vLLM in processes of its own, one for every group of GPUs; each gets the next request."""

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
        arguments = dict(
            model=str(folder), tensor_parallel_size=size, max_num_seqs=self.batch,
            dtype={"bf16": "bfloat16", "fp32": "float32", "": "auto"}[settings.dtype],
            max_model_len=settings.context or None, generation_config="vllm",
            enforce_eager=not gpus, disable_log_stats=True,
            logits_processors=["engine.unused_ids:MaskUnusedIds"],
            additional_config={"ids_in_use": ids_in_use(self.tokenizer)},
        )  # fmt: skip
        context = multiprocessing.get_context("spawn")
        self.workers, self.numbers = {}, itertools.count()
        for i in range(groups):
            here, there = context.Pipe()
            mine = gpus[i * size : (i + 1) * size]
            process = context.Process(target=vllm_worker, args=(there, mine, arguments))
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
        source, flight = iter(requests), {pipe: {} for pipe in self.workers}
        while True:
            while True:
                pipe = min(flight, key=lambda pipe: len(flight[pipe]))
                is_full = len(flight[pipe]) >= 2 * self.batch  # one half waits in the engine
                if is_full or (request := next(source, None)) is None:
                    break
                fields = vllm_sampling(request, self.context)
                flight[pipe][number := next(self.numbers)] = request
                pipe.send((str(number), request.prompt, fields))
            if not any(flight.values()):
                return
            for pipe in wait(list(flight)):
                number, ids, reason = self.receive(pipe)
                if (request := flight[pipe].pop(number, None)) is None:
                    continue  # asked by someone who did not wait
                text = text_of(self.tokenizer, ids, request.sampling)
                yield Completion(request.id, text, ids, reason, len(request.prompt), len(ids))


def vllm_sampling(request: Request, context: int) -> dict:
    """vLLM's SamplingParams, every field that shapes an answer among them: no model's defaults."""
    s = request.sampling
    return dict(
        n=1, temperature=s.temperature, top_p=s.top_p, top_k=s.top_k, min_p=s.min_p,
        seed=request.seed, max_tokens=room_for(request, context), min_tokens=0,
        stop=list(s.stop), stop_token_ids=list(s.stop_ids), ignore_eos=True,
        presence_penalty=0.0, frequency_penalty=0.0, repetition_penalty=1.0,
        detokenize=bool(s.stop), skip_special_tokens=True,
    )  # fmt: skip


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
        return  # nobody is there any more
    except Exception as error:
        traceback.print_exc()
        pipe.send(f"{type(error).__name__}: {error}")
    finally:
        if llm:
            llm.engine_core.shutdown()  # else its processes stay
