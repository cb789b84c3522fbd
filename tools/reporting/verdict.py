"""What the numbers say about the first run, in three sentences: its accuracy, the comparison, its confidence."""

from __future__ import annotations

from typing import Any

from tools.reporting.texts import Texts, interval, p_value, percent


def sentences(report: dict[str, Any], t: Texts) -> list[str]:
    """The sentences in the language of `t`; "" for one that there is no reason to say."""
    if report["multi_label"]:
        return [_precision(report, t)]
    return [_accuracy(report, t), _comparison(report, t), _confidence(report["runs"][0].get("calibration"), t)]


def _precision(report: dict[str, Any], t: Texts) -> str:
    run = report["runs"][0]
    metric = run["mean_average_precision"]
    return t(
        "{run} reaches a mean average precision of {value} % ({interval}) on {n} videos; {broken} of them have no "
        "score and rank last.",
        run=run["name"], value=percent(metric["value"]), interval=interval(metric["interval"]),
        n=report["num_videos"], broken=len(run["broken"]),
    )  # fmt: skip


def _accuracy(report: dict[str, Any], t: Texts) -> str:
    run = report["runs"][0]
    said = t(
        "{run} recognises {value} % ({interval}) of {n} videos",
        run=run["name"], value=percent(run["top1"]["value"]), interval=interval(run["top1"]["interval"]),
        n=report["num_videos"],
    )  # fmt: skip
    num_broken = len(run["broken"])
    return said + (t("; {n} of them have no score and count as wrong.", n=num_broken) if num_broken else t("."))


def _comparison(report: dict[str, Any], t: Texts) -> str:
    """One other run: the whole conclusion; several: which are worse, better or neither."""
    first = report["runs"][0]["name"]
    pairs = [pair for pair in report["comparisons"] if pair["first"] == first]
    if len(pairs) == 1:
        return _conclusion(pairs[0], report["num_videos"], t)
    said = []
    for outcome, text in (
        ("worse", t("it is better than {names}")),
        ("better", t("{names} is better")),
        (None, t("no difference to {names} is shown")),
    ):
        names = [pair["second"] for pair in pairs if _outcome(pair) == outcome]
        if names:
            said.append(text.format(names=t(", ").join(names)))
    return t("Compared with the others: {said}.", said=t("; ").join(said)) if said else ""


def _outcome(pair: dict[str, Any]) -> str | None:
    """Whether the second run of a pair is "better" or "worse"; None where no difference is shown."""
    return {pair["first"]: "worse", pair["second"]: "better", None: None}[pair["better"]]


def _conclusion(pair: dict[str, Any], num_videos: int, t: Texts) -> str:
    p = p_value(pair["corrected_p_value"], "= ")
    if pair["better"] is None:
        return t(
            "No difference between {first} and {second} is shown (P {p}); with these {n} videos and {discordant} "
            "that only one of them has right, about {points} points would have been.",
            first=pair["first"], second=pair["second"], p=p, n=num_videos,
            discordant=pair["first_only"] + pair["second_only"], points=percent(pair["detectable_difference"]),
        )  # fmt: skip
    sign = 1 if pair["better"] == pair["first"] else -1
    return t(
        "{better} is better than {other} by {points} points ({interval}; P {p}).",
        better=pair["better"], other=pair["second"] if sign > 0 else pair["first"],
        points=percent(sign * pair["difference"]), p=p,
        interval=interval(sorted(sign * end for end in pair["interval"])),
    )  # fmt: skip


def _confidence(calibration: dict[str, Any] | None, t: Texts) -> str:
    if not calibration:
        return ""
    over = calibration["overconfidence"]
    side = (
        t("Its mean confidence, {confidence} %, is {points} points above its accuracy")
        if over > 0
        else t("Its mean confidence, {confidence} %, is {points} points below its accuracy")
    ).format(confidence=percent(calibration["mean_confidence"]), points=percent(abs(over)))
    if calibration["ece"] is None:
        return side + t("; there are too few videos to judge its calibration.")
    if calibration["calibrated"]:
        return side + t("; it is calibrated within what {n} videos can show.", n=calibration["num_videos"])
    return side + t("; it is not calibrated (ECE {ece} %).", ece=percent(calibration["ece"]))
