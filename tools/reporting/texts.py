"""What the page says in the languages of `--lang`, and how it writes numbers. Short English texts stand where they are
used, in page.py and verdict.py."""

from __future__ import annotations

from collections.abc import Sequence

# Explanations below tables, by section: English, Chinese.
NOTES = {
    "verdict": (
        "The intervals are 95 % intervals over videos. They do not cover another training seed.",
        "区间均为对视频的 95 % 置信区间，不包含更换训练随机种子带来的变化。",
    ),
    "views": (
        "Top-1 with fewer views, %. *: no difference to all views is shown (McNemar, P of 0.05 or more).",
        "减少视图时的 top-1，%。*：与使用全部视图无显著差异（McNemar 检验，P 不小于 0.05）。",
    ),
    "comparison": (
        "P: McNemar's exact test, two-sided, corrected for the number of pairs (Holm). The interval is a paired "
        "bootstrap of 10,000 draws. A run is better only where the interval excludes 0 and P is below 0.05. A or B: "
        "the ceiling of a fusion that chooses between the two. Detectable: the difference that would have been shown "
        "in four of five cases.",
        "P：双侧精确 McNemar 检验，按对比的对数做 Holm 校正。区间由 10,000 次配对自助抽样得到。仅当区间不含 0 且 "
        "P 小于 0.05 时才认为一方更好。A 或 B：在两者之间选择的融合所能达到的上限。可检出：五次中有四次能检出的差"
        "异。",
    ),
    "calibration": (
        "ECE: mean gap between confidence and accuracy over bins of equal mass. By chance: what a perfectly "
        "calibrated network would show with as many videos (mean, 95th percentile); an ECE below the latter is no "
        "sign of miscalibration. The temperature is found on all videos; the metrics at it are held out: those of "
        "each fold use the temperature of the other folds. It acts on the mean over views; no answer changes.",
        "ECE：各等量区间内置信度与准确率的平均偏差。随机水平：完全校准的网络在同样多的视频上会得到的 ECE（均值、9"
        "5 百分位）；低于后者的 ECE 不能说明未校准。温度由全部视频求得；该温度下的数值为留出结果：每一折使用由其"
        "他折求得的温度。温度作用于各视图的平均分数，不改变任何答案。",
    ),
    "coverage": (
        "A network that answers only from a threshold of confidence on answers fewer videos and is right more often. "
        "The threshold is chosen on all videos; held out: chosen on the other folds. AURC: mean risk over coverages; "
        "E-AURC: above that of the best order; AUROC: how well confidence tells right from wrong.",
        "只在置信度达到阈值时作答，作答的视频更少，但正确率更高。阈值由全部视频选出；留出：由其他折选出。AURC：各"
        "覆盖率下风险的均值；E-AURC：超出最佳排序的部分；AUROC：置信度区分对错的能力。",
    ),
    "classes": (
        "Classes of {run}, the lowest recall first; a click on a column heading sorts. Pale: fewer than {few} videos."
        " Wilson intervals.",
        "{run} 的各类别，召回率低的在前；点击表头可排序。浅色：不足 {few} 段视频。区间为 Wilson 区间。",
    ),
    "fusion": (
        "Weights found on all videos (EM, smallest log loss): {weights}. Top-1 counts all videos, log loss those that"
        " every run scored ({n}). No weight was chosen on the videos that it is judged by. P: McNemar's exact test "
        "against the best run, corrected for the number of fusions.",
        "由全部视频求得的权重（EM，对数损失最小）：{weights}。top-1 计入全部视频，对数损失只计各评估均已打分的 {n"
        "} 段。用于评判的权重都不是在被评判的视频上选出的。P：与最好的单个评估相比的精确 McNemar 检验，按融合方式"
        "的数目校正。",
    ),
}
# One line each, with its source, by whether a video may have several classes: English, Chinese.
FORMULAS = {
    False: (
        (
            "Interval of top-1: (p + z^2/2n ± z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.96 (Wilson 1927)",
            "top-1 的区间：(p + z^2/2n ± z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)，z = 1.96（Wilson 1927）",
        ),
        (
            "Interval of mean class accuracy: bootstrap within each class, 10,000 draws (Efron 1979)",
            "平均类别准确率的区间：在各类别内自助抽样 10,000 次（Efron 1979）",
        ),
        (
            "Intervals of log loss, Brier score, AURC, E-AURC and AUROC: bootstrap over videos, 1,000 draws",
            "对数损失、Brier 分数、AURC、E-AURC 与 AUROC 的区间：对视频自助抽样 1,000 次",
        ),
        (
            "P of two runs: min(1, 2 sum_{i <= min(b, c)} C(b + c, i) 2^-(b + c)), b and c: only A, only B right "
            "(McNemar 1947)",
            "两次评估的 P：min(1, 2 sum_{i <= min(b, c)} C(b + c, i) 2^-(b + c))，b、c：仅 A、仅 B 正确的视频数（"
            "McNemar 1947）",
        ),
        (
            "Correction of several P: the j-th smallest of K times K - j + 1, running maximum (Holm 1979)",
            "多个 P 的校正：K 个中第 j 小的乘以 K - j + 1，取累积最大值（Holm 1979）",
        ),
        (
            "Difference that would have been shown in four of five cases: 2.8 sqrt(b + c) / n",
            "五次中有四次能检出的差异：2.8 sqrt(b + c) / n",
        ),
        (
            "ECE: sum_b |B_b|/n |conf_b - acc_b| (Naeini 2015) in bins of equal mass (Nguyen & O'Connor 2015)",
            "ECE：sum_b |B_b|/n |conf_b - acc_b|（Naeini 2015），等量区间（Nguyen & O'Connor 2015）",
        ),
        (
            "ECE by chance: right_i drawn with probability conf_i, 1,000 times (Bröcker & Smith 2007); debiased: "
            "Kumar 2019",
            "随机水平的 ECE：right_i 以概率 conf_i 抽取 1,000 次（Bröcker & Smith 2007）；去偏：Kumar 2019",
        ),
        (
            "Temperature: softmax(log s / T), T of the smallest log loss (Guo 2017)",
            "温度：softmax(log s / T)，取对数损失最小的 T（Guo 2017）",
        ),
        (
            "Risk and coverage: El-Yaniv & Wiener 2010; AURC, E-AURC: Geifman & El-Yaniv 2017",
            "风险与覆盖率：El-Yaniv & Wiener 2010；AURC、E-AURC：Geifman & El-Yaniv 2017",
        ),
        (
            "Weights of a fusion: expectation maximisation of a mixture (Dempster, Laird & Rubin 1977)",
            "融合的权重：混合模型的期望最大化（Dempster, Laird & Rubin 1977）",
        ),
    ),
    True: (
        (
            "AP: sum_n (R_n - R_{n-1}) P_n; interval of mAP: bootstrap over videos, 1,000 draws (Efron 1979)",
            "AP：sum_n (R_n - R_{n-1}) P_n；mAP 的区间：对视频自助抽样 1,000 次（Efron 1979）",
        ),
    ),
}
# English -> Chinese; tests/test_tools_report.py compares the two.
CHINESE = {
    "Evaluation of {names}": "评估报告：{names}",
    "Verdict": "结论",
    "Metrics": "指标",
    "Comparison": "对比",
    "Calibration": "校准",
    "Coverage": "覆盖率",
    "Classes": "类别",
    "Fusion": "融合",
    "Worst mistakes": "最严重的错误",
    "How it was made": "生成方式",
    "{run} reaches a mean average precision of {value} % ({interval}) on {n} videos; {broken} of them have no score"
    " and rank last.": ("{run} 在 {n} 段视频上的 mAP 为 {value} %（{interval}）；其中 {broken} 段没有得分，排在最后。"),
    "{run} recognises {value} % ({interval}) of {n} videos": (
        "{run} 在 {n} 段视频上的 top-1 准确率为 {value} %（{interval}）"
    ),
    "; {n} of them have no score and count as wrong.": "；其中 {n} 段没有得分，按错误计。",
    "it is better than {names}": "优于 {names}",
    "{names} is better": "不如 {names}",
    "no difference to {names} is shown": "与 {names} 无显著差异",
    "Compared with the others: {said}.": "与其他评估相比：{said}。",
    "No difference between {first} and {second} is shown (P {p}); with these {n} videos and {discordant} that only "
    "one of them has right, about {points} points would have been.": (
        "{first} 与 {second} 之间无显著差异（P {p}）；在这 {n} 段视频、{discordant} 段仅一方正确的情况下，约 {poi"
        "nts} 个百分点的差异才能被检出。"
    ),
    "{better} is better than {other} by {points} points ({interval}; P {p}).": (
        "{better} 比 {other} 高 {points} 个百分点（{interval}；P {p}）。"
    ),
    "Its mean confidence, {confidence} %, is {points} points above its accuracy": (
        "其平均置信度为 {confidence} %，比准确率高 {points} 个百分点"
    ),
    "Its mean confidence, {confidence} %, is {points} points below its accuracy": (
        "其平均置信度为 {confidence} %，比准确率低 {points} 个百分点"
    ),
    "; there are too few videos to judge its calibration.": "；视频太少，无法判断是否校准。",
    "; it is calibrated within what {n} videos can show.": "；就 {n} 段视频所能反映的而言，它是校准的。",
    "; it is not calibrated (ECE {ece} %).": "；它未校准（ECE {ece} %）。",
    "mAP, %": "mAP，%",
    "scored": "已打分",
    "broken": "损坏",
    "top-1, %": "top-1，%",
    "top-{k}, %": "top-{k}，%",
    "mean class accuracy, %": "平均类别准确率，%",
    "log loss": "对数损失",
    "Brier score": "Brier 分数",
    "Intervals of top-1 and top-k are Wilson's; videos are taken as independent.": (
        "top-1 与 top-k 的区间为 Wilson 区间；各视频视为相互独立。"
    ),
    "Intervals are bootstrap intervals over {groups} groups of videos.": (
        "区间由对 {groups} 组视频的自助法（bootstrap）得到。"
    ),
    "{runs}: one recipe, {n} seeds: {metric} {mean} ± {deviation} % (mean ± standard deviation).": (
        "{runs}：同一配置、{n} 个随机种子：{metric} {mean} ± {deviation} %（均值 ± 标准差）。"
    ),
    "clips x crops": "片段数 x 裁剪数",
    "Accuracy by number of views": "准确率与视图数",
    "and {n} more, in the .json beside this page": "另有 {n} 项，见同名的 .json",
    "Videos of {run} without a score: {n}": "{run} 中没有得分的视频：{n} 段",
    "runs A and B": "A 与 B",
    "both right": "均正确",
    "only A": "仅 A",
    "only B": "仅 B",
    "neither": "均错误",
    "A - B, points": "A - B，百分点",
    "P": "P",
    "A or B, %": "A 或 B，%",
    "same answer, %": "答案相同，%",
    "detectable, points": "可检出，百分点",
    "better": "更好",
    "not shown": "无显著差异",
    ".": "。",
    " ": "",
    ", ": "、",
    "; ": "；",
    "class": "类别",
    "classes": "类别",
    "videos": "视频数",
    "only {run}": "仅 {run}",
    "P (Holm)": "P（Holm）",
    "Videos that only {run} has right: {n}": "仅 {run} 正确的视频：{n} 段",
    "Largest changes: {first} and {second}": "变化最大的类别：{first} 与 {second}",
    "mean confidence, %": "平均置信度，%",
    "accuracy, %": "准确率，%",
    "ECE, %": "ECE，%",
    "by chance, %": "随机水平，%",
    "debiased, %": "去偏，%",
    "largest gap (MCE), %": "最大偏差（MCE），%",
    "classwise, %": "分类别，%",
    "temperature": "温度",
    "ECE at it, %": "该温度下的 ECE，%",
    "log loss at it": "该温度下的对数损失",
    "95 %: {value}": "95 %：{value}",
    "With fewer than 90 videos there are too few for an ECE.": "视频不足 90 段，无法计算 ECE。",
    "mean confidence of a bin, %": "区间的平均置信度，%",
    "Reliability of {run}": "{run} 的可靠性图",
    "{run}: each point is a bin with its Wilson interval; grey: videos by confidence.": (
        "{run}：每个点是一个区间及其 Wilson 区间；灰色：视频按置信度的分布。"
    ),
    "wanted accuracy, %": "目标准确率，%",
    "threshold": "阈值",
    "answers, %": "作答比例，%",
    "answers, held out, %": "作答比例（留出），%",
    "accuracy, held out, %": "准确率（留出），%",
    "AURC": "AURC",
    "E-AURC": "E-AURC",
    "AUROC": "AUROC",
    "coverage: videos answered, %": "覆盖率：作答的视频，%",
    "risk: wrong among them, %": "风险：其中错误的比例，%",
    "Risk against coverage": "风险与覆盖率",
    "AP of {run}, %": "{run} 的 AP，%",
    "recall, %": "召回率，%",
    "precision, %": "精确率，%",
    "F1, %": "F1，%",
    "recall of {run}, %": "{run} 的召回率，%",
    "Confused classes": "混淆的类别",
    "taken for": "被认作",
    "of the class, %": "占该类别，%",
    "some of them": "其中部分",
    "Classes taken for each other": "相互混淆的类别",
    "of both classes, %": "占两类别，%",
    "mean of probabilities, equal weights": "概率均值，等权重",
    "geometric mean, equal weights": "几何平均，等权重",
    "mean of probabilities, weights of the other folds": "概率均值，权重由其他折求得",
    "sum of logits": "logits 之和",
    "against {run}, points": "相对 {run}，百分点",
    "weight of {run}": "{run} 的权重",
    "Top-1 over the weight of a run": "top-1 随权重的变化",
    "For the eye only: a weight read off this curve would be chosen on the test videos.": (
        "仅供观察：按此曲线取权重等于在测试视频上选择权重。"
    ),
    "Wrong among the scored videos of {run}: {n}.": "{run} 有 {n} 段已打分的视频识别错误。",
    "Largest loss, at most {n} a class": "损失最大（每类最多 {n} 段）",
    "Confident and wrong": "置信度高但错误",
    "Label or network? All runs agree on a wrong class": "是标注错还是网络错？所有评估一致认作同一错误类别",
    "true: {name}; loss {loss}": "真实类别：{name}；损失 {loss}",
    "labelled {label}, recognised as {predicted} with {least} % and more": (
        "标注为 {label}，被识别为 {predicted}，置信度均不低于 {least} %"
    ),
    "folder": "目录",
    "settings": "设置",
    "list, SHA-256": "列表及 SHA-256",
    "weights, SHA-256": "权重的 SHA-256",
    "scores.npz, SHA-256": "scores.npz 的 SHA-256",
    "Made by tools/report.py: {versions}.": "由 tools/report.py 生成：{versions}。",
    "frames of {path}": "{path} 的画面",
    "no picture: {cause}": "无画面：{cause}",
}
LANGUAGES = ("en", "cn")


class Texts:
    """t("text with {name}", name=...) in one of LANGUAGES. code: of the language, for the page's `lang`."""

    def __init__(self, language: str):
        self.place = LANGUAGES.index(language)
        self.code = ("en", "zh-CN")[self.place]

    def __call__(self, text: str, **values: object) -> str:
        """The text, with its values put in where there are any."""
        text = CHINESE.get(text, text) if self.place else text
        return text.format(**values) if values else text

    def note(self, name: str, **values: object) -> str:
        """One of NOTES."""
        text = NOTES[name][self.place]
        return text.format(**values) if values else text

    def formulas(self, multi_label: bool) -> list[str]:
        """Those of FORMULAS."""
        return [texts[self.place] for texts in FORMULAS[multi_label]]


def percent(fraction: float | None, signed: bool = False) -> str:
    """0.123 as "12.3"; "-" for None."""
    return "-" if fraction is None else f"{100 * fraction + 0.0:{'+' if signed else ''}.1f}"


def decimals(value: float | None, digits: int = 3) -> str:
    """0.1234 as "0.123", -0.0001 as "0.000"; "-" for None."""
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def interval(ends: Sequence[float], signed: bool = False) -> str:
    """A 95 % interval as "10.1 – 14.9"."""
    return " – ".join(percent(end, signed) for end in ends)


def p_value(p: float, sign: str = "") -> str:
    """Two digits, or a bound; `sign` before a value that is none."""
    return "< 0.0001" if p < 1e-4 else f"{sign}{p:.2g}"
