"""Reads an export with the framework's own parser, in its environment: python framework_readers.py FRAMEWORK FILE.

Prints one JSON object by path of the corpus: ``weights`` as the framework holds them, and ``achieved``, the share of
what it draws (sequences, samples, tokens), where its code draws without a training run.
"""

import json
import shlex
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path


def by_turns(prefixes, weights):
    total = sum(weights)
    return {prefix: weight / total for prefix, weight in zip(prefixes, weights, strict=True)}


def megatron(path):
    import numpy as np
    from megatron.core.datasets import helpers
    from megatron.core.datasets.utils import get_blend_from_list

    if path.suffix == ".yaml":
        import yaml

        listed = yaml.safe_load(path.read_text())["dataset"]["data_path"]
    else:
        listed = shlex.split(path.read_text(), comments=True)[1:]
    prefixes, weights = get_blend_from_list(listed)
    size = 100_000
    corpus, sample = np.zeros(size, np.int16), np.zeros(size, np.int64)
    helpers.build_blending_indices(corpus, sample, np.array(weights), len(prefixes), size, False)
    shares = np.bincount(corpus, minlength=len(prefixes)) / size
    return {
        "weights": by_turns(prefixes, weights),
        "achieved": dict(zip(prefixes, shares.tolist(), strict=True)),
    }


def torchtitan(path):
    from collections import Counter
    from itertools import islice

    from torchtitan.hf_datasets.interleaved import InterleavedDataset

    names = {}
    exec(path.read_text(), names)
    config = names["dataloader"]
    paths = [source.dataset_path for source in config.sources]

    class Sequences:
        def __init__(self, path):
            self.path = path

        def __iter__(self):
            while True:
                yield self.path

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

        def reloop(self):
            pass

    weights = [source.weight for source in config.sources]
    mixed = InterleavedDataset(
        [Sequences(path) for path in paths], weights, config.seed, config.stopping_strategy
    )
    size = 200_000
    drawn = Counter(islice(mixed, size))
    return {
        "weights": by_turns(paths, weights),
        "achieved": {path: drawn[path] / size for path in paths},
    }


def olmo_core(path):
    import numpy as np
    from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList

    sources = SourceMixtureList.from_yaml(str(path))
    sources.validate()
    built = SourceMixtureDatasetConfig(
        source_list=sources,
        requested_tokens=4_000_000,
        global_batch_size=8192,
        render_tables=False,
        quiet=True,
    ).build(npdtype=np.uint16, sequence_length=1024)
    tokens = {
        source.paths[0]: sum(part.tokens for part in outcome.path_tokens)
        for source, outcome in zip(sources.sources, built.sources, strict=True)
    }
    total = sum(tokens.values())
    return {
        "weights": {source.paths[0]: source.target_ratio for source in sources.sources},
        "achieved": {name: number / total for name, number in tokens.items()},
    }


def llama_factory(path):
    import yaml
    from llamafactory.hparams.data_args import DataArguments

    text = path.read_text()
    content = yaml.safe_load(text)
    arguments = DataArguments(**{k: v for k, v in content.items() if k != "stage"})
    (info,) = [line for line in text.splitlines() if "dataset_info.json" in line]
    entries = json.loads(info.partition(": ")[2])
    paths = [entries[name]["file_name"] for name in arguments.dataset]
    return {"weights": dict(zip(paths, arguments.interleave_probs, strict=True))}


def axolotl(path):
    from collections import Counter

    import yaml
    from axolotl.utils.schemas.datasets import SFTDataset

    passes = Counter()
    for entry in yaml.safe_load(path.read_text())["datasets"]:
        dataset = SFTDataset(**entry)
        passes[dataset.path] += dataset.weight
    return {"weights": passes}


def mosaicml_streaming(path):
    # Its readers of images need torchvision, for which there is no build beside this torch.
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms.functional"):
        module = types.ModuleType(name)
        module.VisionDataset, module.to_tensor = object, None
        module.__spec__ = ModuleSpec(name, None)
        sys.modules[name] = module
    import numpy as np
    from streaming import Stream

    names = {}
    settings, _, dataset = path.read_text().partition("train =")
    exec(settings, names)
    streams = names["streams"]
    epoch = int(dataset.partition("epoch_size=")[2].partition(",")[0])
    size = Stream.apply_weights(streams, np.full(len(streams), 1000), epoch, 0)
    return {
        "weights": {stream.local: float(stream.proportion) for stream in streams},
        "achieved": {stream.local: int(stream.choose) / size for stream in streams},
    }


def nemo_automodel(path):
    import yaml
    from nemo_automodel.components.datasets.llm.megatron.megatron_utils import get_blend_from_list
    from nemo_automodel.components.training.domain_mixture import (
        DomainMixtureConfig,
        DomainWeightConfig,
    )

    content = yaml.safe_load(path.read_text())
    domains = [DomainWeightConfig(**entry) for entry in content["domain_mixture"]["domains"]]
    blend = get_blend_from_list(content["dataset"]["paths"])
    mixture = DomainMixtureConfig(domains=tuple(domains)).build(blend=blend)
    assert set(mixture.loss_multipliers) == {1.0}
    return {"weights": dict(zip(mixture.paths, mixture.sampling_weights, strict=True))}


def levanter(path):
    import asyncio
    from collections import Counter

    import draccus
    import yaml
    from levanter.data.dataset import ListAsyncDataset
    from levanter.data.mixture import MixtureDataset
    from levanter.data.text.datasets import LmDataConfig

    config = draccus.decode(LmDataConfig, yaml.safe_load(path.read_text())["data"])
    paths = {name: component.cache_dir for name, component in config.components.items()}
    sequences = {name: ListAsyncDataset([paths[name]] * 100) for name in paths}
    mixed = MixtureDataset(
        sequences,
        config.train_weights,
        config.mixture_block_size,
        key=0,
        stop_strategy=config.stop_strategy,
    )
    size = 10 * config.mixture_block_size
    drawn = Counter(asyncio.run(mixed.get_batch(range(size))))
    return {
        "weights": {paths[name]: weight for name, weight in config.train_weights.items()},
        "achieved": {path: drawn[path] / size for path in paths.values()},
    }


def kubernetes(path):
    import kubernetes_validate
    import yaml

    job = yaml.safe_load(path.read_text())
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(job, version, strict=True)
    with_a_slip = {**job, "spec": {**job["spec"], "completion": 1}}
    try:
        kubernetes_validate.validate(with_a_slip, version, strict=True)
    except kubernetes_validate.ValidationError:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        return {"name": job["metadata"]["name"], "gpus": container["resources"]["limits"]}
    raise AssertionError("the schema takes anything")


def skypilot(path):
    import sky

    task = sky.Task.from_yaml(str(path))
    (resources,) = task.resources
    return {"name": task.name, "gpus": resources.accelerators, "run": task.run, "envs": task.envs}


if __name__ == "__main__":
    reader = globals()[sys.argv[1].replace("-", "_")]
    print(json.dumps(reader(Path(sys.argv[2]))))
