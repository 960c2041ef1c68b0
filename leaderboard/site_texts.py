"""What suites and benchmarks measure, and how each can be fooled: the site's own sentences."""

SUITES = {
    "dojo-mini": "A small simulated world that every machine can run: an arm on a table, with "
    "futures that are known exactly because the simulator can be rewound. Good for a first look, "
    "too small for fine differences.",
    "dojo-v1": "The simulated world at full size: several embodiments, objects and tasks never "
    "seen in training, exact counterfactual branches, and rollouts of a minute.",
    "gr1-sim-sample": "A sample of simulated GR-1 clips.",
    "g1-real-sample": "A sample of real clips of the G1 humanoid.",
    "droid-real-sample": "A sample of real clips of the DROID data set.",
}
UNKNOWN_SUITE = "A suite that does not come with the package; its version says which clips it has."
WHAT = {
    "fidelity": "How close each predicted frame is to the true one, over the whole rollout.",
    "counterfactual": "Whether other actions make other futures, and the right ones: several "
    "futures of one state, each known exactly.",
    "stability": "How long a rollout stays sane: no drift, no freeze, no vanishing objects.",
    "probes": "What happens when actions are wrong: replaced, shuffled, or another episode's.",
}
FOOLED = {
    "fidelity": "A frame that is repeated scores well where little moves, which is why the "
    "baseline that does so stands in the table and why skill counts only what it misses. A blur "
    "gains PSNR and loses LPIPS. A model that ignores its actions can look well here: read the "
    "counterfactual table too.",
    "counterfactual": "A model that reacts to actions in some way, but not the right one, gains "
    "effect without cosine. Retrieval saturates where branches differ much; two-way choice does "
    "not. Few groups make wide intervals: look at them before at the means.",
    "stability": "A frozen rollout does not drift, which is why standing still counts as broken. "
    "Sharp but wrong frames keep their sharpness: read the late PSNR beside it.",
    "probes": "A drop needs a model that was right before: one that is bad throughout loses "
    "nothing. Answering to actions says nothing about answering rightly.",
}
