"""Making somebody's object: which of torch's options belongs to which argument of their constructor."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compare.driving import signatures, vocabulary
from compare.driving.options import Option
from compare.driving.tensors import Array


class UndrivableError(ValueError):
    """It cannot be told how to call this code; the message says what is missing and how to say it."""


class ConversionError(ValueError):
    """Something of theirs could not be converted to ours, or the other way: nothing is known about their code."""


class MistoldError(ValueError):
    """Something was said about the code that is not so; the message says what is."""


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

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        self.read |= super().keys()
        return super().items()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        self.read |= super().keys()
        return super().values()

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
        about: what the options are about.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any] | None,
        options: Mapping[str, Any],
        about: Mapping[str, Option] | None = None,
    ) -> None:
        self.forward_function, self.backward_function = forward, backward
        self.options, self.about = dict(options), about or {}
        self.arguments: dict[str, Array] = {}
        self.settings = Settings(settings_of(options, self.about) | {"mode": "train"})

    def require_read(self, making: Making) -> None:
        """Raise UnsupportedError for an option that is not at its default and was never read."""
        arguments = {
            vocabulary.option_of(name, set(self.options)) for name in signatures.argument_names(self.forward_function)
        }
        if not any(
            vocabulary.plain(name) in vocabulary.SETTINGS_WORDS
            for name in signatures.argument_names(self.forward_function)
        ):
            return
        known = arguments | {option for option, about in self.about.items() if about.seen_in or about.drops}
        unread = [
            option
            for option in self.options
            if option not in known
            and not self.settings.read.intersection(vocabulary.SETTINGS_KEYS.get(option, (option,)))
        ]
        making.refuse(unread)


def settings_of(options: Mapping[str, Any], about: Mapping[str, Option]) -> dict[str, Any]:
    """The options under every usual key.

    >>> settings_of({"stride": 2, "padding": 1}, {})
    {'stride': 2, 'strides': 2, 'pad': 1, 'padding': 1}
    """
    return {
        key: value
        for option, value in (*options.items(), *by_sides(options, about).items())
        for key in vocabulary.SETTINGS_KEYS.get(option, (option,))
    }


def by_sides(options: Mapping[str, Any], about: Mapping[str, Option]) -> dict[str, Any]:
    """The two numbers of every option that people also give one by one.

    >>> from compare.driving.options import KERNEL_SIZE
    >>> by_sides({"kernel_size": (3, 2), "stride": 1}, {"kernel_size": KERNEL_SIZE})
    {'kernel_height': 3, 'kernel_width': 2}
    """
    found: dict[str, Any] = {}
    for option, value in options.items():
        sides = about[option].sides if option in about else None
        both = value if isinstance(value, tuple) else (value, value)
        if sides is not None and len(both) == len(sides):  # not of a layer with one side, or three
            found |= dict(zip(sides, both, strict=True))
    return found


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
        about: what the options are about.
        size_pairs: whether sizes are passed as pairs, also where both are equal.
        fixed: whether the options are those of one torch module that was given: then they are passed where they are
            asked for, and none is missed.
    """

    options: Mapping[str, Any]
    defaults: Mapping[str, Any]
    dtype: str
    weights: Mapping[str, Array] = field(default_factory=dict)
    fixed: bool = False
    size_pairs: bool = False
    about: Mapping[str, Option] = field(default_factory=dict)

    def value(self, option: str) -> Any:
        """What is passed for an option: a pair of equal numbers as one number, unless they take pairs."""
        value = self.full()[option]
        if self.size_pairs and self._about(option).two_sided:
            return value if isinstance(value, tuple) else (value, value)
        return single(value)

    def full(self) -> dict[str, Any]:
        """The options with torch's defaults, which need not be theirs."""
        options = {name: value for name, value in self.defaults.items() if value is not None} | dict(self.options)
        for option, about in self.about.items():
            if about.default in options and options.get(option) is None:
                options[option] = options[about.default]
        return options

    def _about(self, option: str) -> Option:
        return self.about.get(option, Option())

    def shown_by(self, arguments: Iterable[str]) -> set[str]:
        """The options that need not be told to code with arguments of these names: weights show them."""
        given = list(arguments)
        return {
            option
            for option, about in self.about.items()
            for weight in (about.seen_in, *about.drops)
            if any(vocabulary.same_thing(name, weight) for name in given)
        }

    def refuse(self, unused: Iterable[str]) -> None:
        """Raise UnsupportedError for unused options that are not at their defaults."""
        options, missed = self.full(), list[str]()
        for option in unused:
            about, default = self._about(option), self.defaults.get(option)
            if default is None and about.default:
                default = options[about.default]
            if self.fixed or options[option] in about.implied:
                continue
            if option not in self.defaults or single(options[option]) != single(default):
                missed.append(f"{option}={options[option]}")
        if missed:
            raise UnsupportedError(", ".join(missed))


def construct(factory: Any, making: Making) -> Any:
    """Make their object with torch's options, passed under their own names; an object is copied instead.

    Raises:
        UndrivableError: if it cannot be told what a required argument means.
        UnsupportedError: if they do not take an option that is not at its default.
    """
    options = making.full()
    if isinstance(factory, tuple) or is_forward(factory):
        forward, backward, *_ = (*(factory if isinstance(factory, tuple) else (factory,)), None)
        refuse_unknown(forward, making)
        return Functions(forward, backward, {option: making.value(option) for option in options}, making.about)
    if not isinstance(factory, type) and not inspect.isroutine(factory) and not hasattr(factory, "func"):
        return _copy(factory)
    given, unknown, takes_any = _known_arguments(factory, making)
    used = {vocabulary.option_of(name, {*options, *by_sides(options, making.about)}) for name in given}
    used |= making.shown_by(given)
    used |= {option for option, about in making.about.items() if about.sides and used & set(about.sides)}
    left = [option for option in options if option not in used]
    required = [option for option in left if option not in making.defaults]
    refuse_missing(unknown, {option: about for option, about in making.about.items() if option in making.defaults})
    if len(unknown) > len(required):
        raise UndrivableError(
            f"{signatures.called(factory)}: cannot tell what to pass as {', '.join(unknown)}; write the call out, "
            f'FILE.py:"{signatures.called(factory)}(...)", and say which torch module it is like'
        )
    for name, option in zip(unknown, required, strict=False):  # in torch's order
        given[name] = making.value(option)
        left.remove(option)
    if takes_any:  # **options: what is needed, by torch's names
        given |= {option: making.value(option) for option in left if option in making.options}
        left = [option for option in left if option not in making.options]
    making.refuse(left)
    return factory(**given)


def refuse_missing(arguments: Iterable[str], about: Mapping[str, Option], there: Collection[str] = ()) -> None:
    """Raise UnsupportedError for an argument that wants a weight which an option drops, unless it is `there`."""
    for name in arguments:
        for option, known in about.items():
            if any(weight not in there and vocabulary.same_thing(name, weight) for weight in known.drops):
                raise UnsupportedError(f"{option}=False")


def is_forward(factory: Any) -> bool:
    """Whether a function computes an output itself, instead of making an object: its first argument is an input."""
    if not inspect.isfunction(factory):
        return False
    wanted = signatures.required_names(factory)
    return bool(wanted) and vocabulary.plain(wanted[0]) in vocabulary.INPUT_WORDS | {"z"}


def _known_arguments(factory: Any, making: Making) -> tuple[dict[str, Any], list[str], bool]:
    """The arguments whose names say what they are; the required ones that do not say; whether it takes any others."""
    given: dict[str, Any] = {}
    unknown: list[str] = []
    options, takes_any = making.full(), False
    sides = by_sides(options, making.about)
    for name, parameter in signatures.parameters(factory, 0).items():
        option = vocabulary.option_of(name, {*options, *sides, "dtype"})
        leaf = next((leaf for leaf in making.weights if vocabulary.same_thing(name, leaf)), None)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            takes_any = takes_any or parameter.kind == parameter.VAR_KEYWORD
        elif option == "dtype":
            given[name] = np.dtype(making.dtype)
        elif leaf is not None and option is None and parameter.default is parameter.empty:
            given[name] = making.weights[leaf].copy()
        elif option is not None:
            given[name] = sides[option] if option in sides else making.value(option)
        elif parameter.default is parameter.empty:
            unknown.append(name)
    return given, unknown, takes_any


def refuse_unknown(function: Callable[..., Any], making: Making) -> None:
    """Refuse options that a function can know neither by an argument nor from its weights."""
    arguments, options = signatures.argument_names(function), making.full()
    if any(vocabulary.plain(name) in vocabulary.SETTINGS_WORDS for name in arguments):
        return  # `Functions.require_read` will tell
    known = {vocabulary.option_of(name, set(options)) for name in arguments}
    known |= making.shown_by(arguments)
    making.refuse(option for option in options if option not in known)


def _copy(subject: Any) -> Any:
    try:
        return copy.deepcopy(subject)
    except Exception:  # an open file, a lock ...: then the one there is must do
        return subject
