"""Detection metrics as loops over their rules, one box at a time: what metrics/frame_map.py and tubes.py must equal.

Truth is a list of (frame, box, label), detections of (frame, box, label, score); a box is a tuple of 4 numbers.
"""

from __future__ import annotations


def plain_iou(a, b, margin=0):
    def area(box):
        return max(box[2] - box[0] + margin, 0) * max(box[3] - box[1] + margin, 0)

    common = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - common
    return common / union if union > 0 else 0.0


def plain_suppress(boxes, max_iou, margin=0):
    """boxes: (box, score), earlier ones first among equals; those that stay, best first."""
    kept = []
    for box, score in sorted(boxes, key=lambda item: -item[1]):
        if all(plain_iou(box, better, margin) <= max_iou for better, _ in kept):
            kept.append((box, score))
    return kept


def plain_ava_ap(truth, detections, label, max_per_frame=50):
    """AP of a class as AVA's program computes it; None without truth."""
    judged = []
    for frame in sorted({d[0] for d in detections}):
        best = sorted((d for d in detections if d[0] == frame), key=lambda d: -d[3])[:max_per_frame]
        wanted = [box for f, box, name in truth if (f, name) == (frame, label)]
        taken = set()
        for _, box, name, score in best:
            if name != label or box[0] >= box[2] or box[1] >= box[3]:
                continue
            ious = [plain_iou(box, other) for other in wanted]
            place = ious.index(max(ious)) if ious else None
            hit = place is not None and ious[place] >= 0.5 and place not in taken
            if hit:
                taken.add(place)
            judged.append((score, hit))
    total = sum(name == label for _, _, name in truth)
    if not total:
        return None
    points = precision_recall(sorted(judged, key=lambda item: -item[0]), total)
    area, last = 0.0, 0.0
    for i, (_, recall) in enumerate(points):
        area += (recall - last) * max(p for p, _ in points[i:])
        last = recall
    return area


def plain_act_ap(truth, detections, label):
    """AP of a class by ACT's rules."""
    judged = []
    for frame in sorted({d[0] for d in detections}):
        own = [(box, score) for f, box, name, score in detections if (f, name) == (frame, label)]
        judged += [(score, frame, box) for box, score in plain_suppress(own, 0.3, 1)]
    left = [(f, box) for f, box, name in truth if name == label]
    total, hits = len(left), []
    for score, frame, box in sorted(judged, key=lambda item: -item[0]):
        overlaps = [(plain_iou(box, other, 1), -i) for i, (f, other) in enumerate(left) if f == frame]
        hit = bool(overlaps) and max(overlaps)[0] >= 0.5
        if hit:
            del left[-max(overlaps)[1]]
        hits.append((score, hit))
    return trapezoids(hits, total)


def precision_recall(ranked, total):
    points, found = [], 0
    for n, (_, hit) in enumerate(ranked, 1):
        found += hit
        points.append((found / n, found / total))
    return points


def trapezoids(ranked, total):
    """ranked: (score, hit). 0 without truth."""
    if not total:
        return 0.0
    area, before = 0.0, (1.0, 0.0)
    for precision, recall in precision_recall(ranked, total):
        area += (recall - before[1]) * (precision + before[0]) / 2
        before = precision, recall
    return area


def plain_link(detections):
    """Tubes of one class in one video: [{frame: box}, score], best first. detections: (frame, box, score)."""
    tubes, live = [], []
    last = max((frame for frame, _, _ in detections), default=0)
    for frame in range(last + 1):
        boxes = plain_suppress([(box, score) for f, box, score in detections if f == frame], 0.3, 1)[:10]
        live.sort(key=lambda tube: -sum(score for _, _, score in tube) / len(tube))
        for tube in list(live):
            near = [item for item in boxes if plain_iou(item[0], tube[-1][1], 1) >= 0.2]
            if near:
                best = max(near, key=lambda item: item[1])
                tube.append((frame, *best))
                boxes.remove(best)
            elif frame - tube[-1][0] >= 5:
                live.remove(tube)
        new = [[(frame, *item)] for item in boxes]
        tubes += new
        live += new
    found = []
    for tube in tubes:
        score = sum(item[2] for item in tube) / len(tube)
        path = {}
        for (f0, b0, _), (f1, b1, _) in zip(tube, tube[1:]):
            for f in range(f0, f1):
                path[f] = tuple(p + (q - p) * (f - f0) / (f1 - f0) for p, q in zip(b0, b1))
        path[tube[-1][0]] = tube[-1][1]
        if score >= 0.01 and len(path) >= 15:
            found.append((path, score))
    kept = []
    for path, score in sorted(found, key=lambda item: -item[1]):
        if all(plain_tube_iou(path, other) <= 0.3 for other, _ in kept):
            kept.append((path, score))
    return kept


def plain_tube_iou(a, b):
    """a, b: {frame: box} without gaps."""
    common = a.keys() & b.keys()
    if not common:
        return 0.0
    mean = sum(plain_iou(a[f], b[f], 1) for f in common) / len(common)
    return mean * len(common) / len(a.keys() | b.keys())


def plain_video_ap(truth, detected, min_iou):
    """truth: [(video, path)]; detected: [(video, path, score)]."""
    left, hits = list(truth), []
    for video, path, score in sorted(detected, key=lambda item: -item[2]):
        overlaps = [(plain_tube_iou(path, other), -i) for i, (v, other) in enumerate(left) if v == video]
        hit = bool(overlaps) and max(overlaps)[0] >= min_iou
        if hit:
            del left[-max(overlaps)[1]]
        hits.append((score, hit))
    return trapezoids(hits, len(truth))
