"""Constructing and calling what somebody wrote: which of our values belongs to which of their arguments."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.diagnosis import names
from scratch import Array

SIZES = ("in_channels", "out_channels", "in_features", "out_features", "num_features")  # told by the weights
PAIRED = ("kernel_size", "stride", "padding")
SIDES = ("kernel_height", "kernel_width")
RATE = 1.0  # the learning rate that code receives which updates its weights itself; a power of two rounds nothing


class UndrivableError(ValueError):
    """It cannot be told how to call this code; the message says what is missing and how to say it."""


class UnsupportedError(ValueError):
    """This code does not take an option that a case needs: nothing wrong, but nothing to compare."""


class Settings(dict[str, Any]):
    """A dictionary of settings that remembers which of them were read: what is never read is not supported."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.read |= super().keys()  # copied or unpacked as a whole: all may have been read
        return super().__iter__()

    def __deepcopy__(self, _: Any) -> Settings:
        copied = Settings({key: super(Settings, self).__getitem__(key) for key in self.keys()})
        copied.read = self.read
        return copied

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.read.add(key)
        return super().pop(key, *default)


class Functions:
    """`conv_forward(x, w, b, {"stride": 1, "pad": 1}) -> out, cache` and `conv_backward(dout, cache) -> dx, dw, db`.

    Attributes:
        arguments: the weights by the names of the arguments that take them; filled in by the adapter.
        settings: the options under every usual key, given to an argument that takes a dictionary.
    """

    def __init__(
        self, forward: Callable[..., Any], backward: Callable[..., Any] | None, options: Mapping[str, Any]
    ) -> None:
        self.forward_function, self.backward_function = forward, backward
        self.options = dict(options)
        self.arguments: dict[str, Array] = {}
        self.settings = Settings(settings_of(options) | {"mode": "train"})

    def require_read(self, making: Making) -> None:
        """Raise UnsupportedError for an option that is not at its default and was never read."""
        arguments = {names.option_of(name, set(self.options)) for name in argument_names(self.forward_function)}
        if not any(names.plain(name) in names.SETTINGS_WORDS for name in argument_names(self.forward_function)):
            return
        known = {*SIZES, "kernel_size", "bias", *arguments}
        unread = [
            option
            for option in self.options
            if option not in known and not self.settings.read.intersection(names.SETTINGS_KEYS.get(option, (option,)))
        ]
        making.refuse(unread)


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options under every usual key.

    >>> settings_of({"stride": 2, "padding": 1})
    {'stride': 2, 'strides': 2, 'pad': 1, 'padding': 1}
    """
    settings: dict[str, Any] = {}
    for option, value in options.items():
        for key in names.SETTINGS_KEYS.get(option, (option,)):
            settings[key] = value
    if "kernel_size" in options:
        value = options["kernel_size"]
        height, width = value if isinstance(value, tuple) else (value, value)
        settings |= {"pool_height": height, "pool_width": width, "kernel_height": height, "kernel_width": width}
    return settings


def single(value: Any) -> Any:
    """A pair of equal numbers as one number: most code takes only that."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


@dataclass(frozen=True)
class Making:
    """What an object is made with.

    Attributes:
        options: torch's options of the case, by torch's names.
        defaults: torch's own defaults: an option that they do not take may have this value.
        dtype: "float64" or "float32".
        weights: weights by torch's names, in their layout, for constructors that take them.
        pairs: whether sizes are passed as pairs, also where both are equal.
        fixed: whether the options are those of one torch module that was given: then they are passed where they are
            asked for, and none is missed.
    """

    options: Mapping[str, Any]
    defaults: Mapping[str, Any]
    dtype: str
    weights: Mapping[str, Array] = field(default_factory=dict)
    fixed: bool = False
    pairs: bool = False

    def value(self, option: str) -> Any:
        """What is passed for an option: a pair of equal numbers as one number, unless they take pairs."""
        value = self.full()[option]
        if self.pairs and option in PAIRED:
            return value if isinstance(value, tuple) else (value, value)
        return single(value)

    def full(self) -> dict[str, Any]:
        """The options with torch's defaults, which need not be theirs; also the sides of a kernel one by one."""
        options = {name: value for name, value in self.defaults.items() if value is not None} | dict(self.options)
        if "kernel_size" in options and options.get("stride") is None:
            options["stride"] = options["kernel_size"]
        return options

    def refuse(self, unused: Iterable[str]) -> None:
        """Raise UnsupportedError for an unused option that is not at its default."""
        options = self.full()
        for option in unused:
            default = self.defaults.get(option)
            if option == "stride" and default is None:
                default = options["kernel_size"]
            if self.fixed or (option == "dim" and options[option] in (1, -1)):  # along the rows: no option for most
                continue
            if option not in self.defaults or single(options[option]) != single(default):
                raise UnsupportedError(f"{option}={options[option]}")


def construct(factory: Any, making: Making) -> Any:
    """Make their object with torch's options, passed under their own names; an object is copied instead.

    Raises:
        UndrivableError: if it cannot be told what a required argument means.
        UnsupportedError: if they do not take an option that is not at its default.
    """
    options = making.full()
    if isinstance(factory, tuple) or is_forward(factory):
        forward, backward, *_ = (*(factory if isinstance(factory, tuple) else (factory,)), None)
        _refuse_unknown(forward, making)
        return Functions(forward, backward, {option: making.value(option) for option in options})
    if not isinstance(factory, type) and not inspect.isroutine(factory) and not hasattr(factory, "func"):
        return _copy(factory)
    given, unknown, takes_any = _known_arguments(factory, making)
    used = {names.option_of(name, {*options, *SIDES}) for name in given}
    used |= {*SIZES, "kernel_size"} if any(names.same_thing(name, "weight") for name in given) else set()
    used |= {"bias"} if any(names.same_thing(name, "bias") for name in given) else set()
    used |= {"kernel_size"} if used & set(SIDES) else set()
    left = [option for option in options if option not in used]
    required = [option for option in left if option not in making.defaults]
    if "bias" in making.defaults and any(names.same_thing(name, "bias") for name in unknown):
        raise UnsupportedError("bias=False")
    if len(unknown) > len(required):
        raise UndrivableError(
            f"{_name(factory)}: cannot tell what to pass as {', '.join(unknown)}; write the call out, "
            f'FILE.py:"{_name(factory)}(...)", and say which torch module it is like'
        )
    for name, option in zip(unknown, required, strict=False):  # in torch's order
        given[name] = making.value(option)
        left.remove(option)
    if takes_any:  # **options: what is needed, by torch's names
        given |= {option: making.value(option) for option in left if option in making.options}
        left = [option for option in left if option not in making.options]
    making.refuse(left)
    return factory(**given)


def is_forward(factory: Any) -> bool:
    """Whether a function computes an output itself, instead of making an object: its first argument is an input."""
    if not inspect.isfunction(factory):
        return False
    wanted = required_names(factory)
    return bool(wanted) and names.plain(wanted[0]) in names.INPUT_WORDS | {"z"}


def _known_arguments(factory: Any, making: Making) -> tuple[dict[str, Any], list[str], bool]:
    """The arguments whose names say what they are; the required ones that do not say; whether it takes any others."""
    given: dict[str, Any] = {}
    unknown: list[str] = []
    options, takes_any = making.full(), False
    if "kernel_size" in options:
        size = options["kernel_size"]
        options |= dict(zip(SIDES, size if isinstance(size, tuple) else (size, size), strict=True))
    for name, parameter in inspect.signature(factory).parameters.items():
        option = names.option_of(name, {*options, "dtype"})
        leaf = next((leaf for leaf in making.weights if names.same_thing(name, leaf)), None)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            takes_any = takes_any or parameter.kind == parameter.VAR_KEYWORD
        elif option == "dtype":
            given[name] = np.dtype(making.dtype)
        elif leaf is not None and option is None and parameter.default is parameter.empty:
            given[name] = making.weights[leaf].copy()
        elif option is not None:
            given[name] = options[option] if option in SIDES else making.value(option)
        elif parameter.default is parameter.empty:
            unknown.append(name)
    return given, unknown, takes_any


def _refuse_unknown(function: Callable[..., Any], making: Making) -> None:
    """Refuse options that a function can know neither by an argument nor from its weights."""
    arguments, options = argument_names(function), making.full()
    if any(names.plain(name) in names.SETTINGS_WORDS for name in arguments):
        return  # `Functions.require_read` will tell
    known = {names.option_of(name, set(options)) for name in arguments}
    known |= {*SIZES, "kernel_size"} if any(names.same_thing(name, "weight") for name in arguments) else set()
    known |= {"bias"} if any(names.same_thing(name, "bias") for name in arguments) else set()
    making.refuse(option for option in options if option not in known)


def _copy(subject: Any) -> Any:
    try:
        return copy.deepcopy(subject)
    except Exception:  # an open file, a lock ...: then the one there is must do
        return subject


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def call_forward(
    function: Callable[..., Any], inputs: tuple[Any, ...], training: bool, functions: Functions | None
) -> Any:
    """Call their forward with the input (a loss: and the targets), and what else it asks for by name.

    Raises UndrivableError if it asks for something unknown.
    """
    main = list(inputs)
    wanted = required_names(function)
    plain_words = [names.plain(name) for name in wanted]
    if len(main) == 2 and len(wanted) >= 2:
        first, second = plain_words[:2]
        if first in names.TARGET_WORDS - names.INPUT_WORDS and second in names.INPUT_WORDS - names.TARGET_WORDS:
            main.reverse()
    return _call(function, main, training, functions, {})


def call_backward(
    function: Callable[..., Any],
    grad_output: Any,
    inputs: tuple[Any, ...],
    cache: Any,
    training: bool,
    functions: Functions | None,
) -> tuple[Any, bool]:
    """Call their backward with the upstream gradient, and what else it asks for by name.

    Returns what it returned, and whether it took the gradient at all (a loss may not).
    """
    if takes_input_only(function) and cache is None:
        return np.asarray(_call(function, [inputs[0]], training, functions, {})) * grad_output, True
    known = dict.fromkeys(names.RATE_WORDS, RATE) | dict.fromkeys(names.CACHE_WORDS, cache)
    wanted = required_names(function)
    others = [name for name in wanted if names.plain(name) not in known and not _is_mode(name)]
    gradients = [name for name in others if _is_gradient(name)]
    main = gradients[0] if gradients else None
    if main is None:
        unknown = [name for name in others if names.plain(name) not in names.INPUT_WORDS | names.TARGET_WORDS]
        main = unknown[0] if unknown else others[0] if len(others) == 1 and len(inputs) == 1 else None
    for name in others:
        word = names.plain(name)
        if name == main:
            known[word] = grad_output
        elif word in names.TARGET_WORDS and len(inputs) > 1 and word not in names.INPUT_WORDS:
            known[word] = inputs[1]
        elif word in names.INPUT_WORDS:
            known[word] = inputs[0]
    return _call(function, [], training, functions, known), main is not None


def takes_input_only(function: Callable[..., Any]) -> bool:
    """Whether a "backward" is a derivative f'(x) of one argument, by its name: relu_prime(z), gradient(x)."""
    wanted = required_names(function)
    called = getattr(function, "__name__", "").lower()
    slope = any(word in called for word in ("prime", "deriv", "gradient", "grad"))
    return slope and len(wanted) == 1 and not _is_gradient(wanted[0]) and not called.startswith("backward")


def _call(
    function: Callable[..., Any],
    main: list[Any],
    training: bool,
    functions: Functions | None,
    known: Mapping[str, Any],
) -> Any:
    positional: list[Any] = []
    named: dict[str, Any] = {}
    waiting = list(main)
    by_name = False  # after an argument that was left at its default
    for name, parameter in _parameters(function, len(main)).items():
        word = names.plain(name)
        if parameter.kind == parameter.VAR_KEYWORD:
            continue
        if parameter.kind == parameter.VAR_POSITIONAL:
            positional += waiting
            waiting = []
            continue
        optional = parameter.default is not parameter.empty
        if word in known:
            value = known[word]
        elif _is_mode(name) and (optional or not waiting):
            value = _mode(name, parameter.default, training)
        elif functions is not None and _from_functions(functions, name) is not None:
            value = _from_functions(functions, name)
        elif waiting:
            value = waiting.pop(0)
        elif optional:
            by_name = True
            continue
        else:
            raise UndrivableError(
                f"{_name(function)}: cannot tell what to pass as {name}; give that argument a default, "
                "or wrap the call in a function of your own"
            )
        if by_name or parameter.kind == parameter.KEYWORD_ONLY:
            named[name] = value
        else:
            positional.append(value)
    return function(*positional, **named)


def _parameters(function: Callable[..., Any], inputs: int) -> Mapping[str, inspect.Parameter]:
    """The arguments of a function; one of compiled code, which says nothing of them, takes the inputs."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        kind = inspect.Parameter.POSITIONAL_ONLY
        return {f"x{index}": inspect.Parameter(f"x{index}", kind) for index in range(inputs)}


def _from_functions(functions: Functions, name: str) -> Any:
    """What an argument of this name takes of the weights and options that functions are given; None if nothing."""
    if name in functions.arguments:
        return functions.arguments[name]
    if names.plain(name) in names.SETTINGS_WORDS:
        return functions.settings
    option = names.option_of(name, set(functions.options))
    return None if option is None else single(functions.options[option])


def required_names(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments without a default (and those with one that we know), but not *args and **kwargs."""
    return [
        name
        for name, parameter in _parameters(function, 1).items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and (parameter.default is parameter.empty or names.plain(name) in names.RATE_WORDS)
    ]


def argument_names(function: Callable[..., Any]) -> list[str]:
    """The names of a function's arguments."""
    return list(_parameters(function, 1))


def asks_for_rate(function: Callable[..., Any]) -> bool:
    """Whether a backward takes a learning rate: then it updates the weights itself."""
    return any(names.plain(name) in names.RATE_WORDS for name in required_names(function))


def _is_mode(name: str) -> bool:
    return names.plain(name) in names.MODE_WORDS


def _mode(name: str, default: Any, training: bool) -> Any:
    if isinstance(default, str) or (name == "mode" and not isinstance(default, bool)):
        return "train" if training else "test"
    return training


def _is_gradient(name: str) -> bool:
    word = names.plain(name)
    return word in names.GRADIENT_WORDS or "grad" in word or names.gradient_of(name) in names.OUTPUT_WORDS
