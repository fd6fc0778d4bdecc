"""Calling somebody's functions: which of our values belongs to which of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from compare.driving import making, signatures, vocabulary

# The learning rate that code receives which updates its weights itself: a power of two rounds nothing, and at 1 a
# product and a quotient are the same.
RATE = 0.5


def call_forward(
    function: Callable[..., Any], inputs: tuple[Any, ...], training: bool, functions: making.Functions | None
) -> Any:
    """Call their forward with the input (a loss: and the targets), and what else it asks for by name.

    Raises making.UndrivableError if it asks for something unknown.
    """
    return _call(function, _in_their_order(function, inputs), training, functions, {})


def call_step(
    function: Callable[..., Any], inputs: tuple[Any, ...], training: bool, further: Mapping[str, Any] | None = None
) -> Any:
    """Call their training step with the input and the targets, and the learning rate `RATE` if it asks for one.

    `further` has what else it is given, by the plain word of the argument.
    """
    known = {**dict.fromkeys(vocabulary.RATE_WORDS, RATE), **(further or {})}
    return _call(function, _in_their_order(function, inputs), training, None, known)


def _in_their_order(function: Callable[..., Any], inputs: tuple[Any, ...]) -> list[Any]:
    """The inputs; scores and targets exchanged where the names of the arguments say so."""
    main = list(inputs)
    wanted = signatures.required_names(function)
    plain_words = [vocabulary.plain(name) for name in wanted]
    if len(main) == 2 and len(wanted) >= 2:
        first, second = plain_words[:2]
        if (
            first in vocabulary.TARGET_WORDS - vocabulary.INPUT_WORDS
            and second in vocabulary.INPUT_WORDS - vocabulary.TARGET_WORDS
        ):
            main.reverse()
    return main


def call_backward(
    function: Callable[..., Any],
    grad_output: Any,
    inputs: tuple[Any, ...],
    cache: Any,
    training: bool,
    functions: making.Functions | None,
    forward: Callable[..., Any] | None = None,
    output: Any = None,
) -> tuple[Any, bool]:
    """Call their backward with the upstream gradient, and what else it asks for by name.

    What is called like the first argument of `forward` is the input again, "a" or "y" the output.
    Returns what it returned, and whether it took the gradient at all (a loss may not).
    """
    again = signatures.argument_names(forward)[:1] if forward is not None and len(inputs) == 1 else []
    if takes_input_only(function) and cache is None:
        given = output if slope_at_output(function, forward) and output is not None else inputs[0]
        return np.asarray(_call(function, [given], training, functions, {})) * grad_output, True
    known = dict.fromkeys(rate_words(forward), RATE) | dict.fromkeys(vocabulary.CACHE_WORDS, cache)
    wanted = signatures.required_names(function)
    if len(inputs) == 1 and _only_a_rate(function):
        known = {}  # "eta" alone is an upstream gradient: a layer cannot do without one
    others = [name for name in wanted if vocabulary.plain(name) not in known and not _is_mode(name)]
    gradients = [name for name in others if _is_gradient(name)]
    if not others and len(inputs) > 1:  # a loss may have its upstream gradient as an option
        gradients = [name for name in signatures.argument_names(function) if _is_gradient(name)]
        others = gradients[:1]
    main = gradients[0] if gradients else None
    if main is None:
        told = vocabulary.INPUT_WORDS | vocabulary.TARGET_WORDS | {"z"}
        unknown = [name for name in others if vocabulary.plain(name) not in told and name not in again]
        main = unknown[0] if unknown else others[0] if len(others) == 1 and len(inputs) == 1 else None
    for name in others:
        value = grad_output if name == main else _given_again(name, again, inputs, output)
        if value is not None:
            known[vocabulary.plain(name)] = value
    # backward(*gradients); a loss takes no gradient, or none that it needs
    starred = main is None and len(inputs) == 1 and signatures.is_starred(function)
    return _call(function, [grad_output] * starred, training, functions, known), main is not None or starred


def gradient_argument(function: Callable[..., Any]) -> str:
    """The argument of a backward that takes the upstream gradient, by its name; empty if none is called so."""
    return next((name for name in signatures.required_names(function) if _is_gradient(name)), "")


def slope_at_output(function: Callable[..., Any], forward: Callable[..., Any] | None) -> str:
    """The argument of a derivative that takes the output, by its name, as in sigmoid_derivative(a); else empty."""
    name = signatures.required_names(function)[0] if takes_input_only(function) else ""
    again = signatures.argument_names(forward)[:1] if forward is not None else []
    return name if name not in again and vocabulary.plain(name) in RESULTS else ""


def _given_again(name: str, again: list[str], inputs: tuple[Any, ...], output: Any) -> Any:
    """What backward is given once more, by the argument's name: targets, the input or the output; None if nothing."""
    word = vocabulary.plain(name)
    if name in again:
        return inputs[0]
    if word in RESULTS and len(inputs) == 1 and output is not None:
        return output
    if word in vocabulary.TARGET_WORDS and len(inputs) > 1 and word not in vocabulary.INPUT_WORDS:
        return inputs[1]
    return inputs[0] if word in vocabulary.INPUT_WORDS | {"z"} else None


RESULTS = {"a", "y", "out", "output", "s", "activation"}  # what a layer's own output is called


def rate_words(forward: Callable[..., Any] | None) -> set[str]:
    """The words for a learning rate, without "alpha" and the like where forward has such an argument, too."""
    own = {vocabulary.plain(name) for name in signatures.argument_names(forward)} if forward is not None else set()
    return vocabulary.RATE_WORDS - (own - vocabulary.SURELY_RATE_WORDS)


def takes_input_only(function: Callable[..., Any]) -> bool:
    """Whether a "backward" is a derivative f'(x) of one argument, by its name: relu_prime(z), gradient(x)."""
    wanted = signatures.required_names(function)
    called = getattr(function, "__name__", "").lower()
    slope = any(word in called for word in ("prime", "deriv", "gradient", "grad"))
    return slope and len(wanted) == 1 and not _is_gradient(wanted[0]) and not called.startswith("backward")


def _call(
    function: Callable[..., Any],
    main: list[Any],
    training: bool,
    functions: making.Functions | None,
    known: Mapping[str, Any],
) -> Any:
    positional: list[Any] = []
    named: dict[str, Any] = {}
    waiting = list(main)
    by_name = False  # after an argument that was left at its default
    for name, parameter in signatures.parameters(function, len(main)).items():
        word = vocabulary.plain(name)
        if parameter.kind == parameter.VAR_KEYWORD:
            continue
        if parameter.kind == parameter.VAR_POSITIONAL:
            positional += waiting
            waiting = []
            continue
        optional = parameter.default is not parameter.empty
        if word in known:
            value = known[word]
        elif _is_mode(name, parameter.default) and (optional or not waiting):
            value = _mode(name, parameter.default, training)
        elif functions is not None and _from_functions(functions, name) is not None:
            value = _from_functions(functions, name)
        elif waiting:
            value = waiting.pop(0)
        elif optional:
            by_name = True
            continue
        else:
            raise making.UndrivableError(
                f"{signatures.called(function)}: cannot tell what to pass as {name}; give that argument a default, "
                "or wrap the call in a function of your own"
            )
        if by_name or parameter.kind == parameter.KEYWORD_ONLY:
            named[name] = value
        else:
            positional.append(value)
    return function(*positional, **named)


def _from_functions(functions: making.Functions, name: str) -> Any:
    """What an argument of this name takes of the weights and options that functions are given; None if nothing."""
    if name in functions.arguments:
        return functions.arguments[name]
    if vocabulary.plain(name) in vocabulary.SETTINGS_WORDS:
        return functions.settings
    option = vocabulary.option_of(name, set(functions.options))
    return None if option is None else making.single(functions.options[option])


def _only_a_rate(function: Callable[..., Any]) -> bool:
    """Whether all that a function must be given is called like a learning rate, by a word that means others, too."""
    given = [signatures.parameters(function)[name] for name in signatures.required_names(function)]
    words = [vocabulary.plain(argument.name) for argument in given if argument.default is argument.empty]
    return len(words) == len(given) == 1 and words[0] in vocabulary.RATE_WORDS - vocabulary.SURELY_RATE_WORDS


def asks_for_rate(function: Callable[..., Any], forward: Callable[..., Any] | None = None) -> bool:
    """Whether a backward takes a learning rate: then it updates the weights itself."""
    rates = rate_words(forward)
    return not _only_a_rate(function) and any(
        vocabulary.plain(name) in rates for name in signatures.required_names(function)
    )


def _is_mode(name: str, default: Any = None) -> bool:
    """Whether an argument says if this is training; `mode="max"` is about something else."""
    about = not isinstance(default, str) or default.lower() in vocabulary.MODES
    return about and vocabulary.plain(name) in vocabulary.MODE_WORDS


def _mode(name: str, default: Any, training: bool) -> Any:
    if isinstance(default, str) or (name == "mode" and not isinstance(default, bool)):
        return "train" if training else "test"
    return training


def _is_gradient(name: str) -> bool:
    word = vocabulary.plain(name)
    return (
        word in vocabulary.GRADIENT_WORDS or "grad" in word or vocabulary.gradient_of(name) in vocabulary.OUTPUT_WORDS
    )
