"""The fit of scaling laws, on runs made up from a law that is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.scaling.laws import Fit, Law, fit_law, isoflop_parabolas, power_law

FLOOR = 0.41
TRUE = Law(A=40.0, alpha=0.45, B=900.0, beta=0.5, floor=FLOOR, cost=60.0, growth=0.85)
LEVELS = (3e11, 1e12, 3e12, 1e13, 3e13)


def made_up(seed=0, noise=0.03, law=TRUE, n_sizes=5):
    """Runs at five levels, each with sizes from far below to far above the best one."""
    generator, runs = np.random.default_rng(seed), []
    for level in LEVELS:
        best, _ = law.optimum(level)
        for parameters in best * np.geomspace(0.08, 12, n_sizes):
            tokens = level / (law.cost * parameters**law.growth)
            excess = law.excess(parameters, tokens) * math.exp(noise * generator.standard_normal())
            loss = law.floor + excess
            run = {"parameters": float(parameters), "tokens": float(tokens), "flops": level, "loss": loss}
            runs.append(run | {"level": level})
    return runs


@settings(max_examples=15)
@given(
    alpha=st.floats(0.2, 1.0), beta=st.floats(0.2, 1.0), at=st.floats(3e4, 3e5), growth=st.floats(0.7, 1.0)
)
def test_without_noise_any_law_is_found_again(alpha, beta, at, growth):
    A, B = 0.5 * at**alpha, 0.5 * 1e7**beta
    true = Law(A=A, alpha=alpha, B=B, beta=beta, floor=0.3, cost=30.0, growth=growth)
    found = fit_law(made_up(noise=0.0, law=true), 0.3, n_resamples=2).law
    for name in ("alpha", "beta", "growth", "cost", "size_exponent", "data_exponent"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), rel=1e-3)
    assert found.excess(1e6, 1e8) == pytest.approx(true.excess(1e6, 1e8), rel=1e-3)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    names = ("alpha", "beta", "size_exponent", "excess_exponent")
    held = dict.fromkeys((*names, "next"), 0)
    n_sets = 40
    parameters, tokens = TRUE.optimum(1e14)
    for seed in range(n_sets):
        fit = fit_law(made_up(seed), FLOOR, n_resamples=100, seed=seed)
        for name in names:
            low, high = fit.interval(name)
            held[name] += low < getattr(TRUE, name) < high
        noise = 0.03 * np.random.default_rng(1000 + seed).standard_normal()
        _, low, high = fit.predict(parameters, tokens)
        held["next"] += low < FLOOR + TRUE.excess(parameters, tokens) * math.exp(noise) < high
    # 95% of 40 are 38; resampling is known to be a little narrow with few runs.
    assert all(count >= 0.8 * n_sets for count in held.values()), held


@pytest.mark.parametrize(("known", "n_runs"), [(FLOOR, 8), (None, 10)])
def test_the_next_run_lies_further_from_the_law_than_those_it_was_fitted_to(known, n_runs):
    """With half as many fitted numbers as runs, the residuals are too small by the root of 2."""
    fit = Fit(TRUE, (TRUE,) * 50, known, (-0.1, 0.1) * (n_runs // 2))
    loss, low, high = fit.predict(1e6, 1e8)
    base, far = known or 0.0, math.exp(0.1 * math.sqrt(2))
    assert loss == TRUE.loss(1e6, 1e8)
    assert (low, high) == pytest.approx((base + (loss - base) / far, base + (loss - base) * far))


def test_a_floor_that_has_to_be_guessed_makes_everything_less_sure():
    runs = made_up()
    known, guessed = fit_law(runs, FLOOR), fit_law(runs, None)
    for name in ("alpha", "excess_exponent"):
        (low, high), (lower, higher) = known.interval(name), guessed.interval(name)
        assert higher - lower > high - low
    low, high = guessed.interval("floor")
    assert low < FLOOR < high
    assert known.interval("floor") == (FLOOR, FLOOR)


def test_the_optimum_is_where_moving_either_way_costs_excess():
    parameters, tokens = TRUE.optimum(1e13)
    assert TRUE.cost * parameters**TRUE.growth * tokens == pytest.approx(1e13)
    best = TRUE.excess(parameters, tokens)
    for factor in (0.8, 1.25):
        other = parameters * factor
        assert TRUE.excess(other, 1e13 / (TRUE.cost * other**TRUE.growth)) > best


def test_the_frontiers_exponents_say_how_the_optimum_moves():
    (small, few), (large, many) = TRUE.optimum(1e12), TRUE.optimum(1e14)
    assert large / small == pytest.approx(100**TRUE.size_exponent)
    assert many / few == pytest.approx(100**TRUE.data_exponent)
    assert TRUE.excess(small, few) / TRUE.excess(large, many) == pytest.approx(100**TRUE.excess_exponent)


def test_parabolas_find_the_best_size_of_each_level():
    parabolas = isoflop_parabolas(made_up(noise=0.0, n_sizes=7), FLOOR)
    assert [parabola.level for parabola in parabolas] == list(LEVELS)
    for parabola in parabolas:
        assert parabola.parameters == pytest.approx(TRUE.optimum(parabola.level)[0], rel=0.2)
    found = power_law(np.array(LEVELS), np.array([parabola.parameters for parabola in parabolas]))
    assert found[1] == pytest.approx(TRUE.size_exponent, abs=0.02)


@given(factor=st.floats(1e-3, 1e3), exponent=st.floats(-3, 3))
def test_a_power_law_is_a_line_through_logarithms(factor, exponent):
    x = np.array([1.0, 3.0, 40.0])
    assert power_law(x, factor * x**exponent) == pytest.approx((factor, exponent), rel=1e-6, abs=1e-9)


def changed(**change):
    runs = made_up()
    return [*runs[:-1], runs[-1] | change]


@pytest.mark.parametrize(
    ("runs", "floor", "message"),
    [
        (made_up()[:7], FLOOR, "runs are 7; 8 are needed"),
        (
            changed(loss=0.40),
            FLOOR,
            "loss of run 24 is 0.4, not above the floor, 0.41.*more of the same text",
        ),
        (changed(tokens=0.0), FLOOR, "tokens of run 24 is 0.0"),
        (changed(loss=math.nan), FLOOR, "loss of run 24 is nan"),
        ([run | {"parameters": 1e5} for run in made_up()], FLOOR, "same number of parameters"),
        ([run | {"tokens": 3 * run["parameters"]} for run in made_up()], FLOOR, "go together"),
    ],
)
def test_runs_that_cannot_tell_a_law_are_refused(runs, floor, message):
    with pytest.raises(ValueError, match=message):
        fit_law(runs, floor)


def test_a_level_without_a_lowest_point_is_refused():
    few = [run for run in made_up() if run["level"] == 1e12][:2]
    with pytest.raises(ValueError, match="runs are 2; 3 are needed"):
        isoflop_parabolas(few, FLOOR)
    run = few[0]
    for losses in ((1.0, 2.0, 1.0), (1.0, 1.2, 1.5)):  # a hill; a slope
        places = zip((1e4, 1e5, 1e6), losses, strict=True)
        with pytest.raises(ValueError, match="level 1e\\+12 has no lowest point"):
            isoflop_parabolas([run | {"parameters": n, "loss": loss} for n, loss in places], FLOOR)


def test_a_power_law_needs_numbers_above_zero_and_two_places():
    with pytest.raises(ValueError, match="above 0"):
        power_law(np.array([1.0, 2.0]), np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="x has 1 different"):
        power_law(np.array([2.0, 2.0]), np.array([1.0, 1.5]))
    with pytest.raises(ValueError, match="flops is 0"):
        TRUE.optimum(0)


RUNS = made_up()
FIT = fit_law(RUNS, FLOOR, n_resamples=5)

REFUSED = [
    (lambda: fit_law(None, FLOOR), TypeError, "runs is None"),
    (lambda: fit_law([{}] * 9, FLOOR), ValueError, "run 0 of runs is {}; it needs a number 'parameters'"),
    (lambda: fit_law([1] * 9, FLOOR), ValueError, "run 0 of runs is 1"),
    (lambda: fit_law([*RUNS, RUNS[0] | {"loss": "2"}], FLOOR), ValueError, "run 25 .* a number 'loss'"),
    (lambda: fit_law(RUNS, "0.4"), TypeError, "floor is '0.4'"),
    (lambda: fit_law(RUNS, math.nan), ValueError, "floor is nan"),
    (lambda: fit_law(RUNS, -1), ValueError, "floor is -1"),
    (lambda: fit_law(RUNS, FLOOR, 0), ValueError, "n_resamples is 0"),
    (lambda: fit_law(RUNS, FLOOR, 5, seed=2**70), ValueError, "seed is .* 64 bits"),
    (lambda: fit_law(RUNS, FLOOR, 5, seed=None), TypeError, "seed is None"),
    (lambda: FIT.predict(0, 1e6), ValueError, "parameters is 0"),
    (lambda: FIT.predict(1e6, "1"), TypeError, "tokens is '1'"),
    (lambda: FIT.predict(1e6, 1e6, level=2), ValueError, "level is 2"),
    (lambda: FIT.predict(1e6, 1e6, seed=-1), ValueError, "seed is -1"),
    (lambda: FIT.interval("alpa"), ValueError, "name is 'alpa'; it needs to be one of A, alpha, .*exponent"),
    (lambda: FIT.interval("optimum"), ValueError, "name is 'optimum'"),
    (lambda: FIT.interval("alpha", -1), ValueError, "level is -1"),
    (lambda: TRUE.excess(None, 1), TypeError, "parameters is None"),
    (lambda: TRUE.loss(-5, 1), ValueError, "parameters is -5"),
    (lambda: TRUE.optimum("1"), TypeError, "flops is '1'"),
    (lambda: TRUE.optimum(math.inf), ValueError, "flops is inf"),
    (lambda: isoflop_parabolas(RUNS, None), TypeError, "floor is None"),
    (lambda: isoflop_parabolas([], FLOOR), ValueError, "runs is empty"),
    (lambda: isoflop_parabolas([{"loss": 1}], FLOOR), ValueError, "a number 'level'"),
    (lambda: power_law([1, 2], [1, 2, 3]), ValueError, "y has 3 numbers; it needs as many as x, 2"),
    (lambda: power_law([1, 2], [3, math.inf]), ValueError, "above 0 and finite"),
    (lambda: power_law(["a", "b"], [1, 2]), TypeError, r"x is \['a', 'b'\]; it needs numbers"),
]


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(("call", "error", "said"), REFUSED)
def test_wrong_values_are_refused_by_name(call, error, said):
    with pytest.raises(error, match=said):
        call()


@pytest.mark.usefixtures("without_shape_checks")
def test_numbers_of_numpy_are_numbers():
    runs = [{name: np.float64(value) for name, value in run.items()} for run in RUNS]
    assert fit_law(runs, np.float64(FLOOR), np.int64(5), np.int64(0)) == FIT
    assert isoflop_parabolas(runs, FLOOR) == isoflop_parabolas(RUNS, FLOOR)
    assert FIT.predict(np.int64(10**6), np.float64(1e8), seed=np.int8(0)) == FIT.predict(10**6, 1e8)
