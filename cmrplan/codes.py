"""Every code that a finding can have: how grave it is, and what it means in one sentence."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How grave a finding is."""

    STOP = "stop"  # the log cannot be read, or it speaks against the answer, or tells nothing of it
    CAUTION = "caution"  # the answer should not be relied on without a look at it
    NOTE = "note"  # the answer stands


_STOP, _CAUTION, _NOTE = Severity


class Code(StrEnum):
    """Every code of a finding, with its severity and its meaning in one sentence.

    The values are stable from version to version. docs/warnings.md says what to do about each.

    Attributes
    ----------
    severity : Severity
    meaning : str

    Examples
    --------
    >>> Code("few_sizes") is Code.FEW_SIZES == "few_sizes"
    True
    >>> Code.NO_ROWS.severity, Code.NO_ROWS.meaning
    (<Severity.STOP: 'stop'>, 'The file has nothing below its header.')
    """

    severity: Severity
    meaning: str

    def __new__(
        cls, value: str, severity: Severity = Severity.CAUTION, meaning: str = ""
    ) -> Code:  # every member gives all three; the defaults let type checkers read Code(value)
        """Return the member, which is its value as a string."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.severity = severity
        member.meaning = meaning
        return member

    # On a fit.
    NO_GENERAL_LOSS = (
        "no_general_loss",
        _CAUTION,
        "The log has no loss on the general corpus, so a plan can be of the domain loss alone.",
    )
    NO_DOMAIN_LOSS = (
        "no_domain_loss",
        _CAUTION,
        "The log has no loss on the domain corpus, which a plan needs.",
    )
    NO_BASE_ROW = (
        "no_base_row",
        _CAUTION,
        "No row stands at 0 tokens, so the base loss, from which a tolerance counts by default, is not known.",
    )
    FEW_SIZES = (
        "few_sizes",
        _CAUTION,
        "With one model size the term A/N^alpha is left out, and with two its alpha is held.",
    )
    FEW_TOKEN_COUNTS = (
        "few_token_counts",
        _CAUTION,
        "With one token count the term B/D^beta is left out, with two its beta is held, and a "
        "CMR token law needs more.",
    )
    FEW_RATIOS = (
        "few_ratios",
        _CAUTION,
        "There are so few ratios that nothing checks a law of the ratio between them.",
    )
    SEVERAL_PEAKS = ("several_peaks", _CAUTION, "Runs of one size had different peak rates.")
    DECAYING_SCHEDULE = (
        "decaying_schedule",
        _CAUTION,
        "Rows were evaluated inside a decaying learning rate, which lowers the loss by itself.",
    )
    EARLY_EVALUATIONS = (
        "early_evaluations",
        _CAUTION,
        "The law predicts the largest budgets clearly better without the first evaluations (warm-up, stability gap).",
    )
    AVERAGED_EVALUATIONS = ("averaged_evaluations", _NOTE, "Neighboring evaluations were averaged.")
    LEFT_OUT_EARLY = (
        "left_out_early",
        _NOTE,
        'The first evaluations were left out, as min_train_tokens "auto" asks.',
    )
    SHAPE_RATIO = (
        "shape_ratio",
        _CAUTION,
        "The fitted loss rises with the share of its own corpus somewhere on the fitted range.",
    )
    SHAPE_SIZE = (
        "shape_size",
        _CAUTION,
        "The fitted loss rises with model size somewhere on the fitted range.",
    )
    SHAPE_TOKENS = (
        "shape_tokens",
        _CAUTION,
        "The fitted loss rises with tokens somewhere on the fitted range.",
    )
    SHAPE_MIXED = (
        "shape_mixed",
        _CAUTION,
        "The fitted loss gains less from tokens the larger the share of its corpus.",
    )
    SHAPE_FINITE = (
        "shape_finite",
        _CAUTION,
        "The fitted loss is not a number somewhere on the fitted range.",
    )
    OUTLIER_RUN = ("outlier_run", _CAUTION, "A run is not what the other runs say, beyond chance.")
    INFLUENTIAL_RUN = (
        "influential_run",
        _CAUTION,
        "The fit hangs on this run, and nothing near it says whether it is right.",
    )
    LACK_OF_FIT = (
        "lack_of_fit",
        _CAUTION,
        "The losses lie farther from the law than repeated seeds lie apart.",
    )
    NO_SPARE_RUNS = ("no_spare_runs", _CAUTION, "The laws go through all runs: no intervals.")
    RESIDUAL_LEFT_OUT = ("residual_left_out", _CAUTION, "The settings leave out the residual.")
    RESIDUAL_TREND = (
        "residual_trend",
        _CAUTION,
        "What the fit leaves over depends on size, ratio, seed or tokens.",
    )
    UNIDENTIFIED = (
        "unidentified",
        _NOTE,
        "The log cannot tell these parameters; predictions inside the probed range may still be sound.",
    )
    AT_BOUND = ("at_bound", _NOTE, "These parameters ended at the edge of their range.")
    FEW_MIXTURES = (
        "few_mixtures",
        _CAUTION,
        "There are fewer than twice as many mixtures as a law of the mixture has parameters.",
    )
    UNVARIED_CORPUS = ("unvaried_corpus", _CAUTION, "A training corpus had one share in all runs.")
    UNMEASURED_CORPUS = ("unmeasured_corpus", _NOTE, "No loss was measured on a training corpus.")
    TIED_CORPORA = ("tied_corpora", _CAUTION, "Shares of corpora moved together in all runs.")
    STALLED = ("stalled", _CAUTION, "The search stopped before its optimality test was met.")

    # On a prediction or a plan.
    MEASURED_BREAK = (
        "measured_break",
        _STOP,
        "A run at or below the recommended ratio was measured above the limit.",
    )
    MEASURED_BETTER = (
        "measured_better",
        _CAUTION,
        "A run within the limit was measured with a lower domain loss than the recommended ratio.",
    )
    EXTRAPOLATES_SIZE = (
        "extrapolates_size",
        _CAUTION,
        "The model size lies outside the fitted ones, by the factor that the message names.",
    )
    EXTRAPOLATES_TOKENS = (
        "extrapolates_tokens",
        _CAUTION,
        "The token budget lies outside the fitted ones, by the factor that the message names.",
    )
    BUDGET_UNTOLD = ("budget_untold", _STOP, "The intervals are those of the only probed budget.")
    EXTRAPOLATES_SHARE = (
        "extrapolates_share",
        _CAUTION,
        "The share of a corpus lies outside the fitted ones, or in the gap between 0 and the next.",
    )
    EXTRAPOLATES_RATE = ("extrapolates_rate", _CAUTION, "No run had such a peak rate or schedule.")
    EXTRAPOLATES_RATIO = ("extrapolates_ratio", _CAUTION, "The ratio lies outside the fitted ones.")
    EXTRAPOLATES_MIXTURE = (
        "extrapolates_mixture",
        _CAUTION,
        "Part of the tokens would have to move to make the mixture a blend of probed ones.",
    )
    SHARE_AT_EDGE = ("share_at_edge", _CAUTION, "The share of a corpus ends where probing did.")
    EARLY_EVALUATIONS_EFFECT = (
        "early_evaluations_effect",
        _NOTE,
        "The message says what the ratio would be without the early evaluations.",
    )
    REPLAY_EXTRAPOLATED = (
        "replay_extrapolated",
        _CAUTION,
        "No run trained on general data alone, so its loss is carried there from the smallest fitted ratio.",
    )
    NO_REPETITION = (
        "no_repetition",
        _NOTE,
        "A law of repeated tokens was asked for, and the log shows no repetition of this loss's tokens.",
    )
    PROBES_REPEAT = (
        "probes_repeat",
        _CAUTION,
        "Probes repeat scarce data, so the fitted loss on it holds for that supply.",
    )
    REPETITION_ASSUMED = (
        "repetition_assumed",
        _CAUTION,
        "The plan repeats domain data more than the probes did, or has a smaller corpus; what that does is assumed.",
    )
    REPETITION_NOT_COUNTED = (
        "repetition_not_counted",
        _CAUTION,
        "The plan repeats data, and its fit cannot discount repeated tokens.",
    )
    TARGET_REACHED_AT_ONCE = (
        "target_reached_at_once",
        _NOTE,
        "The fewest probed tokens reach the target already.",
    )
    LONGEST_RUN = (
        "longest_run",
        _CAUTION,
        "The longest run that the ratios allow is the best, so the law sees no end.",
    )
    SIZE_AT_EDGE = (
        "size_at_edge",
        _CAUTION,
        "The best size for the budget is the smallest or largest that was allowed.",
    )
    LAWS_DISAGREE = (
        "laws_disagree",
        _CAUTION,
        "Laws that predict hidden rows about as well answer outside each other's intervals.",
    )
    MISFIT = (
        "misfit",
        _CAUTION,
        "The fit misses a measured loss that has a limit by much of the allowed rise, and of its own interval.",
    )
    ESTIMATE_APART = ("estimate_apart", _CAUTION, "Estimate and resamples contradict each other.")
    FEW_RESAMPLES = ("few_resamples", _CAUTION, "Too few resamples to tell the asked confidence.")
    RATIO_AT_EDGE = (
        "ratio_at_edge",
        _CAUTION,
        "The recommended ratio is the largest or smallest that was probed.",
    )
    DOMAIN_LOSS_TURNS = (
        "domain_loss_turns",
        _CAUTION,
        "The fitted domain loss rises again at large ratios.",
    )
    RISE_CARRIED = (
        "rise_carried",
        _CAUTION,
        "The size or its base was not probed, so what training does over the base is that of the nearest probed ones.",
    )
    LEVEL_BY_LAW = (
        "level_by_law",
        _CAUTION,
        "The size was not probed and no probed size has a base loss, so the level is the law's.",
    )
    BASE_LOSS_CARRIED = (
        "base_loss_carried",
        _CAUTION,
        "The base loss at that size is carried along the law.",
    )
    BASE_LOSS_OF_OTHER_SIZE = (
        "base_loss_of_other_size",
        _CAUTION,
        "The base loss is taken from the only size at which it was measured.",
    )
    BASE_LOSS_EXTRAPOLATED = (
        "base_loss_extrapolated",
        _CAUTION,
        "The base loss is drawn through the two nearest sizes at which it was measured.",
    )

    # On a log that can be used, and on the runs that it is collected from.
    NO_TRAINING_ROWS = ("no_training_rows", _CAUTION, "Every row is a base checkpoint.")
    NO_CONTROL_RATIO = ("no_control_ratio", _NOTE, "No run has ratio 0, or none has ratio 1.")
    NO_SMALL_RATIO = (
        "no_small_ratio",
        _CAUTION,
        "No run has a ratio above 0 and up to 0.01, where laws bend sharply.",
    )
    ONE_MODEL_SIZE = (
        "one_model_size",
        _CAUTION,
        "All rows are of one model size, and nothing says how others behave.",
    )
    ONE_TOKEN_COUNT = (
        "one_token_count",
        _CAUTION,
        "All runs were evaluated at one token count, and nothing says how others behave.",
    )
    MISSING_CORPUS = (
        "missing_corpus",
        _CAUTION,
        "The log has no losses on general, or none on domain.",
    )
    BASE_ROWS_DIFFER = ("base_rows_differ", _CAUTION, "Runs of one size start at different losses.")
    LOSS_UNIT = (
        "loss_unit",
        _CAUTION,
        "Losses are so high or so low that they may be perplexities or bits.",
    )
    LOSSES_APART = ("losses_apart", _CAUTION, "Like runs have losses far apart, as of two metrics.")
    BASE_APART = ("base_apart", _CAUTION, "Pure replay lies far above the base at every budget.")
    CUT_OFF = ("cut_off", _CAUTION, "The file ends inside its last number, or seems to.")
    RUNS_NAMED = ("runs_named", _NOTE, "An import gave the runs names of its own.")
    TOKENS_CARRIED = ("tokens_carried", _CAUTION, "Evaluations have tokens of an earlier count.")
    LINES_AS_STEPS = ("lines_as_steps", _CAUTION, "Lines of a log were counted as steps.")
    CELLS_LEFT_OUT = ("cells_left_out", _NOTE, "An import made no row of empty or repeated cells.")
    CORPUS_RENAMED = ("corpus_renamed", _NOTE, "An import read a corpus under another spelling.")
    DOCUMENT_SHARE = ("document_share", _CAUTION, "The realized token share is not domain_ratio.")
    FEW_TOKENS = (
        "few_tokens",
        _CAUTION,
        "The largest budget has very few tokens for such a model, so they may be steps or thousands.",
    )
    NO_STDERR = ("no_stderr", _NOTE, "No loss_stderr: the noise is taken from the residuals.")
    NO_REPEATED_SEEDS = (
        "no_repeated_seeds",
        _NOTE,
        "No mixture was run with two seeds, so the spread between runs is not known.",
    )
    MIXED_SETTINGS = (
        "mixed_settings",
        _CAUTION,
        "The log mixes tokenizers, schedules, counting conventions, or bases of one size.",
    )
    COPIED_RUN = ("copied_run", _CAUTION, "Two runs have the same losses in every row.")
    CHECKPOINTS_DIFFER = ("checkpoints_differ", _CAUTION, "Checkpoints are of two trainings.")
    DIVERGED_RUN = ("diverged_run", _CAUTION, "All losses of a run lie far above what they were.")
    RESUMED_RUN = ("resumed_run", _CAUTION, "A run begins where another one like it ends.")
    DAMAGED_RUN = ("damaged_run", _CAUTION, "The files of a run disagree, so it is left out.")

    # On a log that cannot be read.
    WRONG_SUFFIX = ("wrong_suffix", _STOP, "The file is not .csv, .jsonl or .parquet.")
    UNREADABLE_FILE = (
        "unreadable_file",
        _STOP,
        "There is no such file, it is a folder, permission lacks, or it is not UTF-8.",
    )
    EMPTY_FILE = ("empty_file", _STOP, "The file has nothing in it.")
    NO_ROWS = ("no_rows", _STOP, "The file has nothing below its header.")
    WRONG_DELIMITER = ("wrong_delimiter", _STOP, "The CSV's columns are not separated by commas.")
    BAD_CSV = ("bad_csv", _STOP, "The file is not valid CSV, as where a quote does not close.")
    BAD_JSON = ("bad_json", _STOP, "A line of the JSONL is not one object.")
    BAD_PARQUET = ("bad_parquet", _STOP, "The file is not a whole Parquet file.")
    NEEDS_PYARROW = ("needs_pyarrow", _STOP, "The package that reads Parquet is not installed.")
    RAGGED_ROW = ("ragged_row", _STOP, "A row has more or fewer cells than the header.")
    DUPLICATE_COLUMN = ("duplicate_column", _STOP, "Two columns have one name.")
    MISSING_COLUMN = ("missing_column", _STOP, "A required column is not there.")
    EMPTY_VALUE = ("empty_value", _STOP, "A cell is empty where a value is required.")
    NOT_A_NUMBER = ("not_a_number", _STOP, "A cell holds text where a number belongs.")
    NOT_FINITE = ("not_finite", _STOP, "A cell holds NaN or infinity where a number belongs.")
    NOT_POSITIVE = ("not_positive", _STOP, "A number is zero or less where it must be above zero.")
    NEGATIVE = ("negative", _STOP, "A number is below zero where it may not be.")
    NOT_WHOLE = ("not_whole", _STOP, "A number has a fraction where a count belongs.")
    NOT_A_FRACTION = ("not_a_fraction", _STOP, "A share or ratio lies outside [0, 1].")
    UNPRINTABLE = ("unprintable", _STOP, "A name holds control or invisible characters.")
    UNKNOWN_PARAMS_KIND = (
        "unknown_params_kind",
        _STOP,
        "The kind of parameter count is neither non_embedding nor total.",
    )
    SHARE_SUM = ("share_sum", _STOP, "The shares of a row do not sum to 1.")
    RATIO_DISAGREES = (
        "ratio_disagrees",
        _STOP,
        "The shares of a row say something else than its domain_ratio.",
    )
    DUPLICATE_ROW = ("duplicate_row", _STOP, "One run, token count and corpus stands twice.")
    RUN_CHANGES = ("run_changes", _STOP, "One run has several sizes, mixtures or seeds.")

    # On a log whose numbers cannot be what their columns say.
    REPLAY_AS_DOMAIN = (
        "replay_as_domain",
        _STOP,
        "The general loss falls and the domain loss rises with the ratio, so it seems to be the share of replay.",
    )
    SIZE_UNIT = ("size_unit", _STOP, "A model size is below any language model's.")
    TOKENS_UNIT = (
        "tokens_unit",
        _STOP,
        "The tokens are steps, or far too few or too many for the model, as where they are in billions.",
    )
    LOSS_NOT_NATS = ("loss_not_nats", _STOP, "The losses are too high for nats per token.")
    CORPUS_SPELLINGS = ("corpus_spellings", _STOP, "Two corpora differ by capitals alone.")
