"""The program's help texts and most common errors in Chinese; utils/i18n.py looks them up.

English, as it stands in the code -> Chinese. `{name}` stands for what changes from case to case. Three names mean
something: {cause} and {hint} are messages of their own and are translated too, a {hint} begins with "; " or is empty, a
{number} or {number_of_what} has no spaces. tests/test_i18n.py compares the English with the code: an entry whose English
has changed, and a help text without an entry, fail there.
"""

from __future__ import annotations

# What argparse itself prints.
ARGPARSE = {
    "usage: ": "用法：",
    "options": "选项",
    "optional arguments": "选项",
    "positional arguments": "位置参数",
    "show this help message and exit": "显示本帮助并退出",
    "argument {argument}: {cause}": "参数 {argument}：{cause}",
    "the following arguments are required: {names}": "缺少必需的参数：{names}",
    "one of the arguments {names} is required": "参数 {names} 必须给出其中一个",
    "unrecognized arguments: {names}": "无法识别的参数：{names}",
    "invalid choice: {value} (choose from {choices})": "取值 {value} 无效（可选：{choices}）",
    "invalid {kind} value: {value}": "{value} 不是有效的 {kind} 值",
    "invalid choice: {value}, maybe you meant {near}? (choose from {choices})": (
        "取值 {value} 无效，是否想写 {near}？（可选：{choices}）"
    ),
    "expected one argument": "需要一个值",
    "expected at least one argument": "至少需要一个值",
    "expected at most one argument": "最多一个值",
    "expected {number} arguments": "需要 {number} 个值",
    "not allowed with argument {argument}": "不能与参数 {argument} 同时使用",
    "ignored explicit argument {value}": "该参数不带值，不能写成 {value}",
    "ambiguous option: {option} could match {matches}": "参数 {option} 有歧义，可能是 {matches}",
}

# --help of train.py, eval.py, predict.py and export.py.
HELP = {
    # shared flags
    "family of networks: {names} (default: the configuration's)": "网络家族：{names}（默认：配置文件中的）",
    "YAML file (default: the family's, ./configs/nonlocal.yaml or ./configs/s3d.yaml)": (
        "YAML 配置文件（默认：所属网络家族的，即 ./configs/nonlocal.yaml 或 ./configs/s3d.yaml）"
    ),
    "clips in a step; overrides the configuration": "每步的片段数；覆盖配置文件中的值",
    "True or False; auto-detected when omitted": "True 或 False；省略时自动判断",
    "output folder (default: %(default)s)": "输出目录（默认：%(default)s）",
    "steps between two progress lines; 0 disables them (default: %(default)s)": (
        "每隔多少步打印一行进度；0 表示不打印（默认：%(default)s）"
    ),
    "override a key of the configuration; may be repeated": "覆盖一个配置项；可多次使用",
    "file of weights (default: TEST.checkpoint_dir's, else the zoo's download)": (
        "权重文件（默认：TEST.checkpoint_dir 中的权重，没有时下载模型库发布的权重）"
    ),
    "file of weights (default: INFER.checkpoint_dir's, else the zoo's download)": (
        "权重文件（默认：INFER.checkpoint_dir 中的权重，没有时下载模型库发布的权重）"
    ),
    "file of weights (default: the one in INFER.checkpoint_dir, else the published one; with no --config either, the "
    "example network)": (
        "权重文件（默认：INFER.checkpoint_dir 中的权重，没有时下载公开发布的权重；若也未给 --config，则使用示例网络）"
    ),
    # train.py
    "Train a NONLOCAL network on a list of videos.": "用视频列表训练 NONLOCAL 网络。",
    "overrides the configuration's": "覆盖配置文件中的值",
    "overrides the configuration's; at least 1": "覆盖配置文件中的值；至少为 1",
    "file of weights to initialise from, or `imagenet` to download ImageNet's for the network's depth": (
        "初始权重文件；或写 `imagenet`，按网络深度下载 ImageNet 预训练权重"
    ),
    "resume from a checkpoint, a folder's newest good one, or --save_dir's (`auto`)": (
        "检查点、目录（取其中最新的完好检查点）或 `auto`（即 --save_dir 目录）"
    ),
    "restart a failed run with --resume=auto, at most this many times": (
        "训练失败后以 --resume=auto 重新启动，最多重启这么多次"
    ),
    "delete the run in --save_dir and start a new one": "删除 --save_dir 中已有的训练结果，从头开始",
    "epochs from one validation to the next; 0 disables them (default: %(default)s)": "每隔多少轮验证一次；0 表示不验证（默认：%(default)s）",
    "True: TRAIN.seed; False: a new seed each run": "True：使用 TRAIN.seed；False：每次运行换新的随机种子",
    "mixed precision on a GPU (TRAIN.amp)": "GPU 上的混合精度训练（TRAIN.amp）",
    "static: a compiled graph (TRAIN.graph)": "static：编译为静态图（TRAIN.graph）",
    "profile the first steps": "对最初若干步做性能分析",
    "folder for the profile (default: %(default)s)": "性能分析结果的目录（默认：%(default)s）",
    "accepted for the zoo's scripts; Paddle no longer has the pass": "为兼容模型库脚本而保留；Paddle 已不再提供此优化",
    # eval.py
    "Score the videos of a list with several views each and report the accuracy.": (
        "对列表中的每段视频取多个视图打分，并报告准确率。"
    ),
    "in place of TEST.filelist": "代替 TEST.filelist",
    "clips x crops of a video, such as 10x3 (default: TEST.num_test_clips as Nx3); adaptive[:CONFIDENCE][:VIEWS]: as "
    "many of them as the answer needs": (
        "每段视频的片段数 x 裁剪数，例如 10x3（默认：按 TEST.num_test_clips 取 Nx3）；adaptive[:置信度][:视图]：其中得出答案所需的那些"
    ),
    "keep the scores of each view in scores.npz, for accuracy by views": "在 scores.npz 中保留每个视角的分数，用于按视角数统计准确率",
    "videos that are not independent are resampled together: a file with a line `path group` for each, or a regular "
    "expression whose parentheses find the group in the path, as v_(.+_g[0-9]+)_ for UCF101": (
        "把彼此不独立的视频作为一组重采样：一个每行写着 `路径 组名` 的文件，或一个用括号在路径中取出组名的正则表达式，如 UCF101 用 v_(.+_g[0-9]+)_"
    ),
    "play each clip backwards, to see whether the network uses time": "把每个片段倒放，用来检验网络是否利用了时间信息",
    "what runs the network: Paddle itself, or an export to Paddle Inference, ONNX Runtime or OpenVINO; auto uses the "
    "fastest one installed (default: %(default)s)": (
        "推理后端：原样使用 Paddle 网络，或将其导出到 Paddle Inference、ONNX Runtime、OpenVINO；"
        "auto 选用已安装的最快后端（默认：%(default)s）"
    ),
    "auto takes bfloat16 where the processor has it and clips of the videos show the same answers; bfloat16 needs a GPU, or "
    "a CPU with bfloat16 instructions (paddle_inference, openvino); float16 needs a GPU; int8 needs a network made by "
    "export.py --precision=int8 (openvino, on CPUs) (default: %(default)s)": (
        "auto：处理器有 bfloat16 且视频片段上的答案不变时采用 bfloat16；bfloat16 需要 GPU 或带 bfloat16 指令的 CPU"
        "（paddle_inference、openvino）；float16 需要 GPU；int8 需要由 export.py --precision=int8 生成的网络（openvino，CPU）"
        "（默认：%(default)s）"
    ),
    "bfloat16 needs a GPU, or a CPU with bfloat16 instructions (paddle_inference, openvino); float16 needs a GPU; int8 "
    "needs a network made by export.py --precision=int8 (openvino, on CPUs) (default: %(default)s)": (
        "bfloat16 需要 GPU 或带 bfloat16 指令的 CPU（paddle_inference、openvino）；float16 需要 GPU；"
        "int8 需要由 export.py --precision=int8 生成的网络（openvino，CPU）（默认：%(default)s）"
    ),
    "int8: quantised on the videos of --calibration, for OpenVINO (default: %(default)s)": (
        "int8：在 --calibration 的视频上量化，供 OpenVINO 使用（默认：%(default)s）"
    ),
    "a list of videos, as --filelist of eval.py": "视频列表，格式同 eval.py 的 --filelist",
    # predict.py
    "who does what: the actions of persons on key frames, as csv in AVA's form": "谁做什么：关键帧上各人的动作，写成 AVA 格式的 csv",
    "the persons, in AVA's form, for --detect": "供 --detect 使用的人的框，AVA 格式",
    "finds the persons, for --detect: an ONNX file, or persons, the one of tools/fetch_person_detector.py (default: the "
    "network's own proposals where it has them, else persons)": (
        "为 --detect 找出人：一个 ONNX 文件，或 persons，即 tools/fetch_person_detector.py 的检测器（默认：网络自带提议时用其提议，否则 persons）"
    ),
    "from one sliding window to the next (default: half a window)": "滑动窗口的步长，秒（默认：窗口的一半）",
    "from one sliding window to the next (default: half a window), or between key frames (default: 1)": (
        "滑动窗口的步长（默认：窗口的一半），或关键帧的间隔（默认：1），秒"
    ),
    "write the video with its segments, or its boxes and actions, drawn on it; a folder for several": (
        "写出画有时间段标注、或框与动作的视频；多个视频时给目录"
    ),
    "Recognise what happens in a video, in the videos of a folder or of a list: classes, segments, actions, or "
    "features.": ("识别一段视频、一个目录或一个列表中的视频里发生了什么：输出类别、时间段、各人的动作或特征。"),
    "videos to predict, one per line; overrides INFER.filelist": "待预测视频的列表，每行一个；覆盖 INFER.filelist",
    "a video or a folder of videos; overrides --filelist": "视频文件或视频目录；优先于 --filelist",
    "classes listed (default: %(default)s)": "显示前几个类别（默认：%(default)s）",
    "clips x crops of a video, as 10x3 (default: INFER.num_test_clips as Nx3), or whole: uncropped frames of as many "
    "clips; adaptive[:CONFIDENCE][:VIEWS]: as many of them as the answer needs. With sliding windows the crops of each: "
    "1x1, 1x3 or whole (default)": (
        "每段视频的片段数 x 裁剪数，例如 10x3（默认：按 INFER.num_test_clips 取 Nx3）；或 whole：同样多的片段，整帧不裁剪；"
        "adaptive[:置信度][:视图]：其中得出答案所需的那些。"
        "使用滑动窗口时指每个窗口的裁剪方式：1x1、1x3 或 whole（默认）"
    ),
    "what happens when, in videos of any length, as files; adaptive: windows between two that agree strongly are not "
    "scored": "任意长度的视频：输出何时发生何事，写成文件；adaptive：两个强烈一致的窗口之间的窗口不计算",
    "calibrate the probabilities: below 1 sharpens, above 1 flattens, the order stays; a number, or a temperature.json of "
    "tools/report.py": "校准概率：小于 1 使分布更尖锐，大于 1 使其更平缓，名次不变；可给一个数，或 tools/report.py 写出的 temperature.json",
    "mean output of a stage, as res5, as npz files": "输出某一阶段（如 res5）的平均特征，存为 npz",
    "one row of features per video, per clip of --views, or per sliding window (default: %(default)s)": (
        "每段视频、--views 的每个片段或每个滑动窗口输出一行特征（默认：%(default)s）"
    ),
    # export.py
    "Write the network as a static graph for other programs, after comparing its scores with those of the network.": (
        "把网络导出为供其他程序使用的静态图；先与原网络比较得分，一致才写出。"
    ),
    "Writes net.json (Paddle 2.6: net.pdmodel) and net.pdiparams, or with --format=onnx net.onnx, and net.yaml: input and "
    "outputs, class names, origin of the weights. Input: frames float32 [N*T, C, H, W], the T frames of a clip in a row, "
    "RGB, (x - mean) / std; outputs: scores float32 [N, K] and logits [N, P, K]. N, H and W are free unless --batch_size "
    "or --crop_size fixes them.": (
        "写出 net.json（Paddle 2.6 为 net.pdmodel）与 net.pdiparams；--format=onnx 时写出 net.onnx。另有 net.yaml，\n"
        "说明输入输出、类别名与权重来源。输入：frames float32 [N*T, C, H, W]，同一片段的 T 帧连续排列，RGB，(x - mean) / std；\n"
        "输出：scores float32 [N, K] 与 logits [N, P, K]。N、H、W 可变，除非用 --batch_size 或 --crop_size 固定。"
    ),
    "--precision=int8 quantises the network to 8 bits, for --precision=int8 of eval.py and predict.py; the files are in the "
    "folder int8 beside the weights.": (
        "--precision=int8 把网络量化为 8 位，供 eval.py 与 predict.py 的 --precision=int8 使用；文件在权重旁的 int8 目录中。"
    ),
    "(default: %(default)s)": "（默认：%(default)s）",
    "fixes height and width, pixels (default: free)": "固定高和宽，像素（默认：可变）",
    "frames of a clip (default: INFER.video_length)": "每个片段的帧数（默认：INFER.video_length）",
    "video or folder whose clips are compared (default: a drawn video)": "用于比较得分的视频或目录；省略时使用绘制的视频",
}

# --help of the tools and of the generators of lists.
TOOLS = {
    # tools/check_videos.py
    "Check every video of a list or folder before training: python tools/check_videos.py LIST_OR_FOLDER": (
        "训练之前检查列表或目录中的每段视频：python tools/check_videos.py LIST_OR_FOLDER"
    ),
    "Each file is opened and decoded to its end. Faults: malformed (a list line), label (unknown), missing, empty, broken, "
    "cut off, damaged, short, duplicate (the same pictures as an earlier video). Odd but readable: rotated, variable frame "
    "rate. --clean_list writes the videos without a fault. A run that was stopped continues where it was when it is started "
    "again. The exit status is 1 if there is a fault. In a folder, the first sub-folder is taken for a video's class.": (
        "打开每个文件并解码到结尾。缺陷：malformed（列表行格式错误）、label（未知标签）、missing（缺失）、empty（空）、\n"
        "broken（无法读取）、cut off（截断）、damaged（部分损坏）、short（过短）、duplicate（与前面的视频画面相同）。\n"
        "可读但异常：rotated（带旋转）、variable frame rate（可变帧率）。--clean_list 写出没有缺陷的视频。中断后再次启动会\n"
        "从上次的位置继续。有缺陷时退出码为 1。对目录，第一级子目录视为视频的类别。"
    ),
    "reading processes (all cores)": "读取进程数（默认全部核心）",
    "labels must be below": "标签须小于此数",
    "file of class names; labels may be names": "类别名文件；标签可以写名称",
    "labels are joined by commas": "标签以逗号连接",
    "fewer are a fault (%(default)s)": "帧数少于此值视为缺陷（%(default)s）",
    "time limit of a video (%(default)s)": "每段视频的时限，秒（%(default)s）",
    "file for everything that was found": "写出全部检查结果的文件",
    "file for a list of the videos without a fault": "写出无缺陷视频列表的文件",
    "file that remembers finished videos (default: by source, in output/)": (
        "记录已检查视频的文件（默认：在 output/ 中，按来源命名）"
    ),
    # tools/pack_dataset.py
    "Pack the videos of a list into shards, tar files of about one size: python tools/pack_dataset.py LIST --out shards/": (
        "把列表中的视频打包成分片，即大小相近的 tar 文件：python tools/pack_dataset.py LIST --out shards/"
    ),
    "For storage that is slow with many small files. Writes shard-000000.tar ... in the form of WebDataset (000000123.mp4, "
    "000000123.cls, 000000123.json: the video whose place in the list is 123, its label, its path and labels), the index of "
    "each shard and its SHA-256 (`sha256sum --check *.sha256`), and list.txt, which every command takes in place of LIST: the "
    "videos keep their places, so that training gets the same clips. A run that was stopped continues when it is started "
    "again.": (
        "用于小文件很慢的存储。按 WebDataset 的格式写出 shard-000000.tar 等（000000123.mp4、000000123.cls、000000123.json：\n"
        "列表中位置为 123 的视频、它的标签、它的路径与全部标签），每个分片的索引与 SHA-256（`sha256sum --check *.sha256`），以及\n"
        "list.txt，任何命令都可用它代替 LIST：视频的位置不变，因此训练取到的片段相同。中断后再次启动即可继续。"
    ),
    "`path label` lines; labels may be missing": "每行为 `路径 标签`；可以没有标签",
    "folder for the shards": "存放分片的目录",
    "MiB of videos in a shard (%(default)s)": "每个分片中视频的大小，MiB（%(default)s）",
    # tools/index_shards.py
    "Make the index of tar files of videos, which lists need to read them: python tools/index_shards.py shards/*.tar": (
        "为视频的 tar 文件建立索引，列表要读取它们必须有索引：python tools/index_shards.py shards/*.tar"
    ),
    "Writes SHARD.idx beside each SHARD.tar, in the form of NVIDIA DALI's wds2idx (tools/pack_dataset.py has written those of "
    "its shards). --list FILE writes a list of all videos in the shards; the label of SAMPLE.mp4 is what SAMPLE.cls holds, "
    "with underscores for spaces.": (
        "在每个 SHARD.tar 旁边写出 SHARD.idx，格式同 NVIDIA DALI 的 wds2idx（tools/pack_dataset.py 已为自己的分片写好）。\n"
        "--list FILE 写出分片中全部视频的列表；SAMPLE.mp4 的标签是 SAMPLE.cls 的内容，空格改为下划线。"
    ),
    "uncompressed tar files": "未压缩的 tar 文件",
    "write a list of the videos": "写出视频的列表",
    # tools/extract_flow.py
    "Compute the optical flow of all videos of a list into a cache, for READER.flow_cache.": (
        "把列表中所有视频的光流计算到缓存中，供 READER.flow_cache 使用。"
    ),
    "Each video gets <save_dir>/<its path in the list>.<method>.flow.mp4 (grey H.264, x above y) or .flow.npz, and a manifest "
    "beside it. What is there already is skipped, so a run that was stopped continues when it is started again. Videos without "
    "flow (broken, one frame) are named at the end; the exit status is then 1.": (
        "每段视频得到 <save_dir>/<列表中的路径>.<method>.flow.mp4（灰度 H.264，x 在上，y 在下）或 .flow.npz，旁边有一份清单文件。"
        "已有的会跳过，因此中断后再次启动即可继续。没有光流的视频（损坏、只有一帧）在最后列出，此时退出码为 1。"
    ),
    "list of videos; labels are ignored": "视频列表；标签不起作用",
    "folder of the cache (READER.flow_cache)": "缓存目录（READER.flow_cache）",
    "as READER.flow_method (%(default)s)": "同 READER.flow_method（%(default)s）",
    "of the frames, pixels (READER.flow_short_side; %(default)s)": "帧的短边，像素（READER.flow_short_side；%(default)s）",
    "largest motion, pixels (READER.flow_bound; %(default)s)": "最大位移，像素（READER.flow_bound；%(default)s）",
    "resample the frames first (READER.frame_rate)": "先按此帧率重采样（READER.frame_rate）",
    "of the files (%(default)s)": "文件格式（%(default)s）",
    "h264 without loss, twice the size": "无损 h264，大小约为两倍",
    "file of class names, for a list whose labels are names": "类别名文件，用于标签是名称的列表",
    "processes (all cores)": "进程数（默认全部核心）",
    "compute again what is there already": "重新计算已有的光流",
    # tools/convert_weights.py
    "Weights of other programs into ours, and back: python tools/convert_weights.py SOURCE TARGET.pdparams": (
        "把其他程序的权重转换为本程序的权重，或反向转换：python tools/convert_weights.py SOURCE TARGET.pdparams"
    ),
    "SOURCE is a file or folder of any program that docs/weights.md names, detected from its content. Prints what became of every "
    "tensor, writes the weights and, beside them, TARGET.yaml: the configuration under which our network computes what the "
    "source's did. With --to the other way: SOURCE is ours, TARGET ends in .safetensors or .npz.": (
        "SOURCE 是 docs/weights.md 所列任一程序的权重文件或目录，由内容判断。打印每个张量的去向，写出权重，并在旁边写出\n"
        "TARGET.yaml：使本程序的网络与来源网络计算结果一致的配置。用 --to 反向转换：SOURCE 是本程序的权重，TARGET 以\n"
        ".safetensors 或 .npz 结尾。"
    ),
    "weight file or folder": "权重文件或目录",
    "what to write: .pdparams, or with --to .safetensors or .npz": "写出的文件：.pdparams；用 --to 时为 .safetensors 或 .npz",
    "whose names it has (default: by the names)": "张量名属于哪个程序（默认：按名称判断）",
    "write our weights under these names": "以这些名称写出本程序的权重",
    "the network (default: by the file)": "网络（默认：由文件判断）",
    "architecture variant of the source (default: its usual one)": "来源网络的结构变体（默认：该程序的常规结构）",
    "the old zoo's factor at test time (default: %(default)s)": "旧版模型库测试时的系数（默认：%(default)s）",
    "to initialise a training from: classifier, blocks may be missing": "用作训练的初始权重：可以缺少分类层和模块",
    "of the network (default: the file's, else 400)": "网络的类别数（默认：按文件，否则为 400）",
    "more keys of the network": "网络的其他配置项",
    "counts only, no table": "只打印数目，不打印表格",
    # tools/demo.py, data/dataset/demo/make_videos.py
    "The whole program once on videos drawn here: bash run.sh demo": "在自己绘制的视频上把整个程序运行一遍：bash run.sh demo",
    "Draws the data set, trains configs/demo.yaml from scratch, evaluates held-out videos with several views (also with "
    "their frames reversed), predicts one, and writes output/demo/results.json.": (
        "绘制数据集，按 configs/demo.yaml 从零训练，用多个视图评估留出的视频（并把帧倒放再评估一次），预测一段视频，\n"
        "写出 output/demo/results.json。"
    ),
    "where the results go (default: %(default)s)": "结果的目录（默认：%(default)s）",
    "where the videos go (%(default)s)": "视频的目录（%(default)s）",
    "training videos a class (%(default)s)": "每类训练视频数（%(default)s）",
    "validation videos a class (%(default)s)": "每类验证视频数（%(default)s）",
    "held-out videos a class (%(default)s)": "每类留出视频数（%(default)s）",
    "test videos a class (%(default)s)": "每类测试视频数（%(default)s）",
    "passed on to train.py": "传给 train.py",
    # tools/study.py
    "The S3D paper's findings, tried on videos drawn here: bash run.sh study": (
        "在自己绘制的视频上检验 S3D 论文的结论：bash run.sh study"
    ),
    "Trains seven networks of the S3D family from scratch with one recipe (configs/study.yaml) and several seeds, "
    "evaluates held-out videos with their frames forwards and reversed, and writes table.md, runs.csv, results.json and "
    "pictures. Runs go side by side, one thread each. The same command goes on where it was stopped; a finished run is "
    "not trained again.": (
        "用同一方案（configs/study.yaml）和若干随机种子从零训练 S3D 系列的七个网络，对留出的视频按正放与倒放各评估一次，\n"
        "写出 table.md、runs.csv、results.json 和图。各次训练并行，每个一个线程。中断后用同一命令继续；已完成的不会重新训练。"
    ),
    "default: all": "默认：全部",
    "runs of each network (%(default)s)": "每个网络训练的次数（%(default)s）",
    "runs side by side (default: one a core)": "并行的训练数（默认：每个核心一个）",
    "for all networks": "用于所有网络",
    "train nothing; report the runs that are finished": "不训练，只汇总已完成的训练",
    "folder of the data set": "数据集目录",
    "other seeds give other videos (%(default)s)": "随机种子，不同的种子得到不同的视频（%(default)s）",
    "processes (default: one a core)": "进程数（默认：每个核心一个）",
    # tools/visualize.py
    "Draw training clips as the network sees them, without training: python tools/visualize.py clips --config=FILE": (
        "画出网络看到的训练片段，不训练：python tools/visualize.py clips --config=FILE"
    ),
    "The first clips of an epoch with its crops, mirrors and mixes, a row a clip, as one PNG. Where a video's pixels are "
    "not square the clip is stretched to the shape in which players show it; the network is given the stored pixels.": (
        "一轮中最前面的若干个片段，含裁剪、镜像与混合，每行一个片段，画成一张 PNG。视频像素不是方形时，片段拉伸为播放器\n"
        "显示的形状；网络得到的是存储的像素。"
    ),
    "YAML file of the training": "训练的 YAML 配置文件",
    "whose order and crops (default: %(default)s)": "使用哪一轮的顺序与裁剪（默认：%(default)s）",
    "rows of the picture (default: %(default)s)": "图中的行数（默认：%(default)s）",
    "where it goes (default: %(default)s)": "输出文件（默认：%(default)s）",
    "Draw what a non-local block attends to (the paper's figure 3): python tools/visualize.py attention --video_path=V "
    "--weights=W": (
        "画出 non-local 模块在看哪里（论文图 3）：python tools/visualize.py attention --video_path=V --weights=W"
    ),
    "For chosen points of one frame of a clip, or the points whose attention is the most concentrated: heat maps over all "
    "frames of the clip and arrows to the strongest positions, as PNG, and the heat maps as mp4. Heat is drawn at the "
    "centres of the block's positions, crop, strides and pools taken into account. The weights of a point sum to 1 for the "
    "two softmax forms; those of the dot product may be negative (blue), and those of the concatenation are not "
    "normalised.": (
        "对片段某一帧中指定的点（或注意力最集中的点），画出片段全部帧上的热力图和指向最强位置的箭头（PNG），以及热力图视频\n"
        "（mp4）。热力画在模块各位置的中心，已考虑裁剪、步长与池化。两种 softmax 形式中，一个点的权重之和为 1；点积的权重\n"
        "可以为负（蓝色），拼接的权重没有归一化。"
    ),
    "the video": "视频",
    "the video (default: the example clip)": "视频（默认：示例片段）",
    "file of weights (default: as predict.py)": "权重文件（默认：与 predict.py 相同）",
    "file of weights (default: as for predict.py)": "权重文件（默认：与 predict.py 相同）",
    "as res3.nl1 (default: the last one of res3, else the last one)": (
        "例如 res3.nl1（默认：res3 的最后一个，没有则取最后一个）"
    ),
    "one of the ten test clips, 0..9 (default: %(default)s)": "十个测试片段之一，0..9（默认：%(default)s）",
    "frame of the clip, from 0 (default: %(default)s)": "片段中的哪一帧，从 0 数起（默认：%(default)s）",
    "a point of that frame's crop as fractions of its width and height, as 0.5,0.25; may be repeated": (
        "该帧裁剪中的一个点，以宽和高的比例表示，例如 0.5,0.25；可多次使用"
    ),
    "without --point (default: %(default)s)": "不给 --point 时画几个点（默认：%(default)s）",
    "arrows per point (default: %(default)s)": "每个点画几个箭头（默认：%(default)s）",
    "A video's frames beside its classes, also played backwards: python tools/visualize.py answer --video_path=V": (
        "并排画出一段视频的帧与类别，正放与倒放各一行：python tools/visualize.py answer --video_path=V"
    ),
    "The scores are those of predict.py, the mean over all views of INFER; without --config and --weights the example "
    "network computes them. A class that changes when the frames are reversed was recognised by the order of the frames.": (
        "得分与 predict.py 相同，是 INFER 全部视图的平均；不给 --config 与 --weights 时由示例网络计算。倒放后改变的类别，\n"
        "是根据帧的顺序判断的。"
    ),
    "frames shown (default: %(default)s)": "显示的帧数（默认：%(default)s）",
    "classes shown (default: %(default)s)": "显示前几个类别（默认：%(default)s）",
    # tools/analyse.py
    "YAML file of the network": "网络的 YAML 配置文件",
    "file of weights (default: as eval.py)": "权重文件（默认：与 eval.py 相同）",
    "Kernel values by offset in time (the S3D paper's figure 5): python tools/analyse.py offsets --config=C --weights=W": (
        "各时间偏移上的卷积核取值（S3D 论文图 5）：python tools/analyse.py offsets --config=C --weights=W"
    ),
    "A panel a layer, a box an offset: quartiles, whiskers at the last value within 1.5 interquartile ranges. Under each "
    "offset stands its energy fraction E_t = sum W_t^2 / sum W^2. A separated temporal kernel starts as the identity, "
    "which a box of W hides among the zeros beside the diagonal, so that W minus the identity is drawn beside W.": (
        "每层一幅，每个偏移一个箱形：四分位数，须线到 1.5 倍四分位距以内的最后一个值；并标出各偏移的能量占比\n"
        "E_t = sum W_t^2 / sum W^2。分离的时间卷积核从单位矩阵开始训练，在 W 的箱形图中被对角线以外的零淹没，\n"
        "因此在 W 旁边还画出 W 减单位矩阵。"
    ),
    "Inception trunks: conv_1a, conv_2c and b1b of each block; ResNets: the stem and the first convolution of each block.": (
        "Inception 主干：conv_1a、conv_2c 和每个块的 b1b；ResNet：stem 和每个块的第一个卷积。"
    ),
    "every layer that convolves time, of all branches": "所有分支中每个在时间上卷积的层",
    "Videos in the plane by their features (the S3D paper's figure 7): python tools/analyse.py tsne --config=C "
    "--weights=W": "按特征把视频画在平面上（S3D 论文图 7）：python tools/analyse.py tsne --config=C --weights=W",
    "A panel a stage: t-SNE of the stage's output, averaged over frames, height and width, coloured by class or by group "
    "of classes. Under each panel, of the features themselves and not of the plane: the silhouette (-1..1) and the "
    "accuracy of the nearest other video's label, with that of a random one. Distances are Euclidean.": (
        "每个阶段一幅：该阶段的输出在帧、高、宽上取平均后的 t-SNE，按类别或类别组着色。每幅图附有直接由特征\n"
        "（而不是由平面图）计算的两个数：轮廓系数（-1..1），以及取最近的另一段视频的标签时的准确率，并给出随机取\n"
        "一段时的准确率。距离为欧氏距离。"
    ),
    "--groups=something: the ten groups of Something-Something's labels that the paper draws, by the texts of the labels. "
    '--groups=FILE: JSON, {{"group": ["class name", ...], ...}}. Videos outside all groups are left out.': (
        "--groups=something：论文所画的 Something-Something 十个标签组，由标签文字判断。\n"
        '--groups=FILE：JSON，{{"group": ["class name", ...], ...}}。不属于任何组的视频不参与。'
    ),
    "something, or a JSON file (default: each class for itself)": "something 或一个 JSON 文件（默认：每个类别自成一组）",
    "stages of the network (default: all)": "网络的阶段（默认：全部）",
    "clips x crops averaged for a video (default: %(default)s)": "每段视频取平均的片段数 x 裁剪数（默认：%(default)s）",
    "no more than the first so many": "最多取列表开头的这么多段视频",
    "at most a third of the videos (default: %(default)s)": "不超过视频数的三分之一（默认：%(default)s）",
    "of t-SNE (default: %(default)s)": "t-SNE 的随机种子（默认：%(default)s）",
    "Accuracy with frames reversed (the S3D paper's table 1): python tools/analyse.py reversed --config=C --weights=W": (
        "帧顺序反转后的准确率（S3D 论文表 1）：python tools/analyse.py reversed --config=C --weights=W"
    ),
    "Evaluates TEST.filelist twice as eval.py does, with the same frames and crops; the second time the frames of each "
    "clip are reversed after they were chosen. Prints both accuracies of each class and of all videos with their 95 % "
    "Wilson intervals, and how many answers stay the same. A network that does not use the order of frames loses nothing.": (
        "与 eval.py 一样对 TEST.filelist 评估两次，所用的帧与裁剪相同；第二次在选定帧之后把每个片段的帧顺序反转。\n"
        "打印每个类别与全部视频的两个准确率及其 95 % Wilson 区间，以及有多少个答案不变。不利用帧顺序的网络不会降低。"
    ),
    "The evaluations themselves are in SAVE_DIR/forwards and SAVE_DIR/reversed. --forwards and --reversed take two "
    "finished ones in place of a network.": (
        "两次评估的结果在 SAVE_DIR/forwards 与 SAVE_DIR/reversed 中。--forwards 与 --reversed 可代替网络，使用两次已完成\n"
        "的评估。"
    ),
    "clips x crops of a video, such as 10x3 (default: as eval.py)": (
        "每段视频的片段数 x 裁剪数，例如 10x3（默认：与 eval.py 相同）"
    ),
    "a finished evaluation": "一次已完成的评估",
    "a finished evaluation with --reverse_frames": "一次已完成的、带 --reverse_frames 的评估",
    "videos between two lines (default: %(default)s)": "每隔多少段视频打印一行（默认：%(default)s）",
    "Accuracy against multiply-adds (axes of the S3D paper's figure 4): python tools/analyse.py cost [--runs FOLDER ...]": (
        "准确率与乘加次数（S3D 论文图 4 的坐标轴）：python tools/analyse.py cost [--runs FOLDER ...]"
    ),
    "--runs: folders of eval.py, whose configuration is counted and whose top-1 is read. Several runs of one network are "
    "a point, the mean, and their range; those with reversed frames are another network. --configs: configurations that "
    "are counted only. Neither: every form of --archs, counted only, at --num_frames and --crop_px.": (
        "--runs：eval.py 的目录，对其配置计数并读取 top-1。同一网络的多次训练合为一点（均值）并给出范围，帧顺序反转的\n"
        "评估另成一点。--configs：只计数的配置文件。两者都不给：对 --archs 的所有形式按 --num_frames 与 --crop_px 计数。"
    ),
    "Multiply-adds are those of one clip, as models/counts.py counts them; of a video, those times its views. Forms of "
    "one architecture that differ in their border are joined by a line. A network without accuracy is a tick on the "
    "lower edge; where none has one, parameters take the place of accuracy.": (
        "乘加次数是一个片段的，由 models/counts.py 计数；一段视频的要再乘以视图数。只有分界不同的同一结构用线相连。\n"
        "没有准确率的网络是下边缘的一道刻度；都没有准确率时，以参数量代替。"
    ),
    "folders of eval.py": "eval.py 的目录",
    "configurations, counted only": "只计数的配置文件",
    "of all forms' clips (default: %(default)s)": "各形式的片段的大小（默认：%(default)s）",
    "which of all forms, such as i3d_r50 (default: the S3D family's)": "哪些形式，例如 i3d_r50（默认：S3D 家族的全部）",
    "The S3D paper's tables beside what was measured here: python tools/analyse.py tables [NAME ...]": (
        "S3D 论文的表格与此处测得的数值：python tools/analyse.py tables [NAME ...]"
    ),
    "For each row: the accuracy as published, who published it and how that is known here, and the accuracy measured here "
    "where RUNS/<run>/results.json of eval.py exists (for reversed frames RUNS/<run>/reversed.json of `analyse.py "
    "reversed`), else a dash. The table `cost` has published parameters and FLOPs beside those counted here at 64 x 224 x "
    "224, 400 classes. The published ones could not be reproduced by any reading of the paper; neither stands for the "
    "other.": (
        "每一行：公布的准确率、公布者、此处如何得知，以及此处测得的准确率：有 eval.py 的 RUNS/<run>/results.json 时\n"
        "（反转帧顺序：`analyse.py reversed` 的 RUNS/<run>/reversed.json）才有，否则为短横线。表 `cost` 并列公布的参数量、\n"
        "FLOPs 与此处在 64 x 224 x 224、400 类下的计数。无论怎样理解论文都未能重现公布的数值；两者不可互相代替。"
    ),
    "{names}; none: all": "{names}；不给：全部",
    "evaluated runs (default: %(default)s)": "已评估的训练结果（默认：%(default)s）",
    # data/dataset: lists and videos
    "Lists for Kinetics. The csv files are those of ActivityNet's crawler (label, youtube_id, time_start, time_end, "
    "split). A video is found as <youtube_id>_<start, 6 digits>_<end, 6 digits> with any video suffix, in class "
    "sub-folders or without; names without the leading zeros, and <youtube_id> alone, are found too.": (
        "生成 Kinetics 的列表。csv 为 ActivityNet 爬虫的文件（label、youtube_id、time_start、time_end、split）。视频按\n"
        "<youtube_id>_<六位起点>_<六位终点> 查找，扩展名不限，可以在类别子目录中；不带前导零的名称和单独的\n"
        "<youtube_id> 也能找到。"
    ),
    "Lists from one sub-folder a class: python data/dataset/nonlocal/make_folder_lists.py --video_dir my_videos": (
        "从每个类别一个子目录生成列表：python data/dataset/nonlocal/make_folder_lists.py --video_dir my_videos"
    ),
    "The sub-folders of --video_dir, in alphabetical order, are the classes; videos may lie in folders below them. A "
    "seeded fraction of each class is kept for validation, or --valid_dir names a folder of the same form.": (
        "--video_dir 的各子目录按字母顺序即为类别；视频可以在更深的目录中。每类按随机种子留出一部分用于验证，或用\n"
        "--valid_dir 指定同样结构的目录。"
    ),
    "Lists for UCF101: python data/dataset/ucf101/make_lists.py --video_dir UCF-101 --split_dir ucfTrainTestlist --split 1": (
        "生成 UCF101 的列表：\n"
        "python data/dataset/ucf101/make_lists.py --video_dir UCF-101 --split_dir ucfTrainTestlist --split 1"
    ),
    "--split_dir is the folder of the official splits: classInd.txt, trainlist01.txt, testlist01.txt and so on. Lines with "
    "and without a label are understood; the class is the folder in front of the file's name, and a label must agree with "
    "it.": (
        "--split_dir 是官方划分文件的目录：classInd.txt、trainlist01.txt、testlist01.txt 等。行中可以有或没有标签；类别是\n"
        "文件名前面的目录，标签必须与之一致。"
    ),
    "Lists for HMDB51: python data/dataset/hmdb51/make_lists.py --video_dir hmdb51 --split_dir testTrainMulti_7030_splits": (
        "生成 HMDB51 的列表：\n"
        "python data/dataset/hmdb51/make_lists.py --video_dir hmdb51 --split_dir testTrainMulti_7030_splits"
    ),
    "--split_dir holds <class>_test_split<1, 2 or 3>.txt with lines `name.avi 1` (training), 2 (test) or 0 (not used). The "
    "classes are those of the split's files, in alphabetical order.": (
        "--split_dir 中有 <类别>_test_split<1、2 或 3>.txt，每行 `name.avi 1`（训练）、2（测试）或 0（不用）。类别取自这些\n"
        "文件，按字母顺序。"
    ),
    "Lists for Charades, several actions a video: `path 12,40,153`, or `path -` for none. --annotation_dir holds "
    "Charades_v1_train.csv, Charades_v1_test.csv and Charades_v1_classes.txt as published.": (
        "生成 Charades 的列表，一段视频多个动作：`path 12,40,153`，没有则为 `path -`。--annotation_dir 中有官方发布的\n"
        "Charades_v1_train.csv、Charades_v1_test.csv 与 Charades_v1_classes.txt。"
    ),
    "Lists for Something-Something V2. --annotation_dir holds train.json, validation.json and labels.json as published, or "
    "the same with `something-something-v2-` in front.": (
        "生成 Something-Something V2 的列表。--annotation_dir 中有官方发布的 train.json、validation.json 与 labels.json，\n"
        "或前面带 `something-something-v2-` 的同样文件。"
    ),
    "Draw the demo's data set: python data/dataset/demo/make_videos.py --output_dir data/dataset/demo/videos": (
        "绘制演示的数据集：python data/dataset/demo/make_videos.py --output_dir data/dataset/demo/videos"
    ),
    "H.264 files in train/, valid/ and test/, with trainlist.txt, vallist.txt, testlist.txt (`path label`, paths relative "
    "to the lists) and class_names.txt. The same arguments give the same data; a complete data set is kept as it is.": (
        "在 train/、valid/ 与 test/ 中写出 H.264 文件，以及 trainlist.txt、vallist.txt、testlist.txt（`path label`，路径相对于\n"
        "列表）和 class_names.txt。同样的参数得到同样的数据；已完整的数据集保持不变。"
    ),
    "Action detection once, on videos drawn here: bash run.sh demo_detection": (
        "在自己绘制的视频上运行一遍动作检测：bash run.sh demo_detection"
    ),
    "Draws videos of several actors, trains configs/demo_detection.yaml from scratch, and evaluates held-out videos with "
    "the actors' own boxes, with inaccurate and false ones, with those of the region proposal network, with reversed "
    "frames and with the boxes of two actors exchanged; writes output/demo_detection/results.json, and overlay.mp4: a "
    "held-out video with the boxes and actions found in it.": (
        "绘制含多个角色的视频，按 configs/demo_detection.yaml 从零训练，然后评估留出的视频：用角色自己的框、用不准确的框与\n"
        "假框、用区域提议网络的框、把帧倒放、把两个角色的框对调；写出 output/demo_detection/results.json 与 overlay.mp4：\n"
        "一段画有检出的框与动作的留出视频。"
    ),
    "Draw the detection demo's data set: python data/dataset/demo_detection/make_videos.py --output_dir "
    "data/dataset/demo_detection/videos": (
        "绘制检测演示的数据集：python data/dataset/demo_detection/make_videos.py --output_dir\n"
        "data/dataset/demo_detection/videos"
    ),
    "H.264 files in train/ and val/; train_boxes.csv and val_boxes.csv with the actors' boxes on key frames "
    "(docs/detection.md), trainlist.txt and vallist.txt (`path video`, paths relative to the lists) and label_map.pbtxt. "
    "The same arguments give the same data; a complete data set is kept as it is.": (
        "在 train/ 与 val/ 中写出 H.264 文件；train_boxes.csv 与 val_boxes.csv 中是关键帧上各角色的框（docs/zh/detection.md），\n"
        "另有 trainlist.txt、vallist.txt（`path video`，路径相对于列表）和 label_map.pbtxt。同样的参数得到同样的数据；\n"
        "已完整的数据集保持不变。"
    ),
    "scenes to train on, two videos each (%(default)s)": "训练场景数，每个场景两段视频（%(default)s）",
    "held-out videos (%(default)s)": "留出视频数（%(default)s）",
    "where the lists go (default: %(default)s)": "列表的输出目录（默认：%(default)s）",
    "annotations of the training set": "训练集标注",
    "annotations of the validation set": "验证集标注",
    "folder with its videos": "其视频所在的目录",
    "names in order (default: %(default)s)": "按顺序排列的类别名（默认：%(default)s）",
    "the training csv's classes, alphabetically": "使用训练 csv 中的类别，按字母顺序",
    "folder with one sub-folder a class": "每个类别一个子目录的目录",
    "folder of the same form for validation, instead of a fraction": "同样结构的验证集目录，代替按比例划分",
    "fraction to validate on (default: %(default)s)": "用于验证的比例（默认：%(default)s）",
    "of the split (default: %(default)s)": "划分所用的随机种子（默认：%(default)s）",
    "folder with the videos (UCF-101)": "视频目录（UCF-101）",
    "folder with the official splits (ucfTrainTestlist)": "官方划分文件的目录（ucfTrainTestlist）",
    "which split (default: %(default)s)": "第几个划分（默认：%(default)s）",
    "folder with the videos, a sub-folder a class": "视频目录，每个类别一个子目录",
    "folder with the official splits": "官方划分文件的目录",
    "folder with the videos": "视频目录",
    "folder with the csv files and the class file": "csv 文件与类别文件所在的目录",
    "folder with the .webm files": ".webm 文件所在的目录",
    "folder with the json files": "json 文件所在的目录",
}

# Error lines: what UserError, RunError and the parsers' checks of values say.
ERRORS = {
    "error: ": "错误：",
    # command line
    "expected True or False, found {value}": "应为 True 或 False，实际为 {value}",
    "expected a whole number above 0, found {value}": "应为大于 0 的整数，实际为 {value}",
    "expected seconds above 0, found {value}": "应为大于 0 的秒数，实际为 {value}",
    "expected minutes above 0, found {value}": "应为大于 0 的分钟数，实际为 {value}",
    "expected hours above 0, found {value}": "应为大于 0 的小时数，实际为 {value}",
    "--features and --segments (or --draw) are two runs; leave one out": (
        "--features 与 --segments（或 --draw）须分两次运行；请去掉其中一个"
    ),
    "--temperature goes with the classes of videos; leave it out with --segments, --draw or --features": (
        "--temperature 只用于视频分类；使用 --segments、--draw 或 --features 时请去掉它"
    ),
    "--temperature is for one class per video (a softmax); this network has several: leave it out": (
        "--temperature 只适用于每个视频一个类别（softmax）；该网络每个视频可有多个类别：请去掉它"
    ),
    "--feature_pooling goes with --features": "--feature_pooling 须与 --features 一起使用",
    "--stride_seconds goes with --segments, --detect or --feature_pooling=window": (
        "--stride_seconds 须与 --segments、--detect 或 --feature_pooling=window 一起使用"
    ),
    "--detect looks at whole frames and goes without --segments, --features, --views and --temperature": (
        "--detect 使用整帧，不能与 --segments、--features、--views、--temperature 一起使用"
    ),
    "--boxes and --detector go with --detect": "--boxes 与 --detector 须与 --detect 一起使用",
    "--boxes has the key frames and their boxes; leave --detector and --stride_seconds out": (
        "--boxes 已包含关键帧与框；请去掉 --detector 与 --stride_seconds"
    ),
    "--detect needs a network with MODEL.task: detection; this one classifies whole clips": (
        "--detect 需要 MODEL.task: detection 的网络；这个网络对整个片段分类"
    ),
    "there are no boxes of persons: pass --boxes=FILE.csv or --detector=FILE.onnx, or fetch the person detector once: "
    "python tools/fetch_person_detector.py": (
        "没有人的框：请给出 --boxes=FILE.csv 或 --detector=FILE.onnx，或下载一次人体检测器：python tools/fetch_person_detector.py"
    ),
    "out of memory; choose a smaller batch_size or fewer num_reader_threads": (
        "内存不足；请减小 batch_size 或 num_reader_threads"
    ),
    "stopped by Ctrl-C": "已被 Ctrl-C 中止",
    "{script}.py {name}: there are {names}": "{script}.py {name}：可选的有 {names}",
    # environment and device
    "Paddle cannot be imported ({cause}); run `bash run.sh setup`": (
        "无法导入 Paddle（{cause}）；请运行 `bash run.sh setup`"
    ),
    "--use_gpu=True, but {cause}; install paddlepaddle-gpu or leave --use_gpu out": (
        "指定了 --use_gpu=True，但{cause}；请安装 paddlepaddle-gpu 或去掉 --use_gpu"
    ),
    "this Paddle is built without CUDA": "当前的 Paddle 不带 CUDA",
    "no GPU is visible": "看不到 GPU",
    "pictures need matplotlib: pip install matplotlib": "绘图需要 matplotlib：pip install matplotlib",
    "cannot write {path}: {cause}; free space or choose another folder": (
        "无法写入 {path}：{cause}；请释放磁盘空间或换一个目录"
    ),
    "cannot write {path}: {cause}; free space and --resume": "无法写入 {path}：{cause}；请释放磁盘空间后用 --resume 续训",
    "cannot write {path}: {cause}; choose another folder": "无法写入 {path}：{cause}；请换一个目录",
    "--save_dir={path}: {cause}; choose another folder": "--save_dir={path}：{cause}；请换一个目录",
    "another process of this run has ended or is out of reach; its own message says why": (
        "本次运行的另一个进程已结束或无法连接；原因见该进程自己的报错"
    ),
    "process {rank} of this run ({place}) was killed, or its machine is out of reach": (
        "本次运行的进程 {rank}（{place}）被杀死，或它的机器无法连接"
    ),
    "process {rank} of this run ({place}) has not answered for {number} s: it is stopped, or its machine is overloaded": (
        "本次运行的进程 {rank}（{place}）{number} 秒没有应答：它被暂停，或它的机器过载"
    ),
    "process {rank} of this run ({place}) has ended with exit status {number}; its message says why": (
        "本次运行的进程 {rank}（{place}）已结束，退出码 {number}；原因见它自己的报错"
    ),
    "process {rank} of this run ({place}) has ended before this one": "本次运行的进程 {rank}（{place}）先于本进程结束",
    "the processes of this run do not find each other through {master}: {cause}": (
        "本次运行的各进程无法通过 {master} 找到彼此：{cause}"
    ),
    "the processes of this run do not find each other: {cause}": "本次运行的各进程找不到彼此：{cause}",
    "PADDLE_MASTER: there is no machine {host}; name the first node, as host:port": (
        "PADDLE_MASTER：没有名为 {host} 的机器；请以 主机:端口 的形式指定第一个节点"
    ),
    # configuration
    "cannot read the configuration {path}: {cause}; pass --config=FILE.yaml": (
        "无法读取配置文件 {path}：{cause}；请用 --config=FILE.yaml 指定"
    ),
    "{source}: write SECTION.key=value, for example -o TRAIN.batch_size=8": (
        "{source}：请写成 SECTION.key=value，例如 -o TRAIN.batch_size=8"
    ),
    "--model_name={name}: {path} describes {other}": "--model_name={name}：{path} 描述的是 {other}",
    "{source}: MODEL.depth {depth} contradicts MODEL.arch {name} (video_arc_choice {arc}), which has depth {other}; "
    "remove `depth` or choose another": (
        "{source}：MODEL.depth {depth} 与 MODEL.arch {name}（video_arc_choice {arc}，深度 {other}）矛盾；"
        "请删除 `depth` 或改为一致的值"
    ),
    "{source}: {names} contradict each other; leave one of them out": "{source}：{names} 互相矛盾；请去掉其中一个",
    "{source}: MODEL.task classification contradicts MODEL.multi_label; leave one of them out": (
        "{source}：MODEL.task classification 与 MODEL.multi_label 矛盾；请去掉其中一个"
    ),
    "{source}: INPUT.scales is [smallest, largest] short side, not {value}": (
        "{source}：INPUT.scales 应为 [最小, 最大] 短边，而不是 {value}"
    ),
    "{source}: MODEL.arch: {value} is none of {choices}": "{source}：MODEL.arch：{value} 不在可选值之中：{choices}",
    "{source}: NONLOCAL.use_affine needs NONLOCAL.use_bn: True (it takes the norm's place)": (
        "{source}：NONLOCAL.use_affine 需要 NONLOCAL.use_bn: True（它取代归一化层的位置）"
    ),
    "{source}: {section}.jitter_scales is [smallest, largest] short side, not {value}": (
        "{source}：{section}.jitter_scales 应为 [最小, 最大] 短边，而不是 {value}"
    ),
    "{source}: {section}.jitter_scales {value}: a test uses one short side; write it twice": (
        "{source}：{section}.jitter_scales {value}：测试只用一种短边，请把同一个数写两次"
    ),
    "{source}: {section}.crop_size {value} is larger than the smallest short side {side} ({other}.jitter_scales)": (
        "{source}：{section}.crop_size {value} 大于最小短边 {side}（{other}.jitter_scales）"
    ),
    "{source}: {section}.use_multi_crop 2 adds mirrored views, whose left and right are other classes (TRAIN.mirror "
    "{value}); set it to 1": (
        "{source}：{section}.use_multi_crop 2 会增加镜像视图，其左右属于别的类别（TRAIN.mirror {value}）；请设为 1"
    ),
    "TRAIN.mirror swap and skip need Something-Something's class names, and {value} is none of them; set "
    "MODEL.class_names, or TRAIN.mirror to True or False": (
        "TRAIN.mirror 的 swap 与 skip 需要 Something-Something 的类别名，其中没有 {value}；请设置 MODEL.class_names，"
        "或把 TRAIN.mirror 设为 True 或 False"
    ),
    "{source}: {section}.num_test_clips {value}: three crops a clip make it a multiple of 3": (
        "{source}：{section}.num_test_clips {value}：每个片段三个裁剪，故须为 3 的倍数"
    ),
    "{path}: `base` leads back to the same file": "{path}：`base` 形成了循环引用",
    "{path}: expected sections such as MODEL: and TRAIN:, found {kind}": (
        "{path}：应由 MODEL:、TRAIN: 等小节组成，实际为 {kind}"
    ),
    "{source}: more than {number} characters once its YAML aliases are written out": (
        "{source}：展开 YAML 别名后超过 {number} 个字符"
    ),
    "{source}{line}: not valid YAML: {cause}": "{source}{line}：不是有效的 YAML：{cause}",
    "{source}: unknown section {name}{hint}": "{source}：未知的小节 {name}{hint}",
    "{source}: section {name} must hold `key: value` lines": "{source}：小节 {name} 应由 `key: value` 行组成",
    "{source}: unknown key {section}.{name}{hint}": "{source}：未知的配置项 {section}.{name}{hint}",
    "; did you mean {name}?": "；是否想写 {name}？",
    "; there are: {names}": "；可选的有：{names}",
    "; it belongs to {section}": "；它属于 {section}",
    "{where}: expected dict, found {kind} {value}": "{where}：应为 dict，实际为 {kind} {value}",
    "{where}: expected a list of {kind}, found {value}": "{where}：应为 {kind} 的列表，实际为 {value}",
    "{where}: expected {kind}, found {other} {value}": "{where}：应为 {kind}，实际为 {other} {value}",
    "{where}: {value} is none of {choices}": "{where}：{value} 不在可选值之中：{choices}",
    "{where}: {value} must be {cause} {number}": "{where}：{value} 须{cause} {number}",
    "at least": "不小于",
    "at most": "不大于",
    "{source}: INPUT.{name} has {number} numbers for {channels} channels (INPUT.channels); write one for each, or one "
    "for all": "{source}：INPUT.{name} 有 {number} 个数，而通道数为 {channels}（INPUT.channels）；请每个通道写一个，或只写一个",
    "NONLOCAL.positions and NONLOCAL.num_blocks both say where blocks go; leave one out": (
        "NONLOCAL.positions 与 NONLOCAL.num_blocks 都指定了模块的位置；请去掉其中一个"
    ),
    "NONLOCAL.num_blocks {value}: there are {choices}; or use positions": (
        "NONLOCAL.num_blocks {value}：可选 {choices}；或使用 positions"
    ),
    "NONLOCAL.use_softmax: False contradicts NONLOCAL.instantiation: {name}; leave one out": (
        "NONLOCAL.use_softmax: False 与 NONLOCAL.instantiation: {name} 矛盾；请去掉其中一个"
    ),
    "{key}: unknown stage {name}; there are {choices}": "{key}：未知的阶段 {name}；可选的有 {choices}",
    "{key}: write a list of residual blocks, counted from 0, such as [1, 3]; found {value}": (
        "{key}：请写残差块的列表，从 0 数起，例如 [1, 3]；实际为 {value}"
    ),
    "{number} frames reach a pool over {stride}: choose video_length as a multiple of it": (
        "{number} 帧进入跨 {stride} 帧的池化：请把 video_length 设为它的倍数"
    ),
    # lists and class names
    "pass --video_path=VIDEO (a file or folder) or --filelist=LIST; {path} does not exist": (
        "请用 --video_path=VIDEO（文件或目录）或 --filelist=LIST 指定视频；{path} 不存在"
    ),
    "{path}: no such file or directory": "{path}：没有该文件或目录",
    "cannot read the list {path}: {cause}": "无法读取列表 {path}：{cause}",
    "the list {path} holds no video; write `path label` lines into it": (
        "列表 {path} 中没有视频；请写入 `路径 标签` 形式的行"
    ),
    "the list holds no video": "列表中没有视频",
    "the list {path} holds no video": "列表 {path} 中没有视频",
    "{where}: no label after the path; write `path label`": "{where}：路径后没有标签；请写成 `路径 标签`",
    "{path}:{line}: a NUL byte; this is no text file": "{path}:{line}：含有 NUL 字节，不是文本文件",
    "{path} has the four columns `path video_index clip crop`, which need a list of labels: set TEST.filename_gt, or "
    "write `path label` lines": (
        "{path} 是四列格式 `path video_index clip crop`，需要另外的标签列表：请设置 TEST.filename_gt，或改写成 `路径 标签` 行"
    ),
    "{path}:{line}: video {index} is {name} here and {other} above": "{path}:{line}：视频 {index} 此处为 {name}，前面为 {other}",
    "{where}: video {index}, but {path} holds {number} (counted from 0)": (
        "{where}：视频序号为 {index}，但 {path} 只有 {number} 个（从 0 数起）"
    ),
    "{where}: video {index} is {name}, but {path}:{line} is {other}; the two lists do not belong together": (
        "{where}：视频 {index} 为 {name}，但 {path}:{line} 为 {other}；两个列表不配套"
    ),
    "{where}: label {label} is outside 0{last}": "{where}：标签 {label} 超出范围 0{last}",
    "label {label} is outside 0..{last}: the list has more classes than MODEL.num_classes": (
        "标签 {label} 超出范围 0..{last}：列表中的类别多于 MODEL.num_classes"
    ),
    "the class names {path} do not exist; set MODEL.class_names (-o MODEL.class_names=FILE)": (
        "类别名文件 {path} 不存在；请设置 MODEL.class_names（-o MODEL.class_names=FILE）"
    ),
    "cannot read the class names {path}: {cause}": "无法读取类别名文件 {path}：{cause}",
    "the class names {path} are not UTF-8 text": "类别名文件 {path} 不是 UTF-8 文本",
    "{path}: the name of class {label} is empty": "{path}：类别 {label} 的名称为空",
    "{path}: classes {label} and {other} are both called {name}": "{path}：类别 {label} 与 {other} 同名：{name}",
    "{path} names {number} classes, but MODEL.num_classes is {other}": (
        "{path} 有 {number} 个类别，而 MODEL.num_classes 为 {other}"
    ),
    "{path} is no json file: {cause}": "{path} 不是 json 文件：{cause}",
    "{path}: expected {{name: label}}, {{label: name}} or a list of names": (
        "{path}：应为 {{名称: 标签}}、{{标签: 名称}} 或名称列表"
    ),
    "{path}: the labels are not 0 to {last}, each once": "{path}：标签应为 0 到 {last}，各出现一次",
    "the folder {path} holds no video{hint}": "目录 {path} 中没有视频{hint}",
    "skipped {number} {cause}": "跳过了 {number} 个{cause}",
    "file that is not a video": "非视频文件",
    "files that are not videos": "非视频文件",
    "{where}: the label {label} is no number{cause}; write `path label`": (
        "{where}：标签 {label} 不是数字{cause}；请写成 `路径 标签`"
    ),
    " and no class name": "，也不是类别名",
    "{path} has no column {name}; its header must name {columns}": "{path} 没有 {name} 列；表头须含 {columns}",
    "{where}: fewer fields than the header has columns": "{where}：字段数少于表头的列数",
    "{where}: unknown class {name}; Kinetics-600 and 700 need --names_from_csv": (
        "{where}：未知的类别 {name}；Kinetics-600 与 700 需要 --names_from_csv"
    ),
    "{where}: no label; the csv of a test set without labels cannot be used": (
        "{where}：没有标签；不能使用无标签的测试集 csv"
    ),
    "{where}: time_start and time_end must be seconds": "{where}：time_start 与 time_end 应为秒数",
    "a list cannot hold the path {path}: rename the file": "列表中无法写入路径 {path}：请给文件改名",
    "{path} and {other} must hold the same classes; not so {name}": "{path} 与 {other} 的类别必须相同；不同的是 {name}",
    "no video for the {name} list: {reason}; check the folder of videos": (
        "{name} 列表没有任何视频：{reason}；请检查视频目录"
    ),
    "{path}:{line}: no csv: {reason}": "{path}:{line}：不是 csv：{reason}",
    "{path}: a sub-folder's name cannot be printed and cannot name a class; rename it": (
        "{path}：有子目录的名称无法打印，不能作为类别名；请改名"
    ),
    "--seed must not be negative, it is {value}": "--seed 不能为负，实际为 {value}",
    "{path}:{line}: no class {name} in classInd.txt; expected Class/file.avi": (
        "{path}:{line}：classInd.txt 中没有类别 {name}；应为 Class/file.avi"
    ),
    "{path}:{line}: label {label}, but {name} is class {number}": "{path}:{line}：标签为 {label}，但 {name} 是类别 {number}",
    "{path}:{line}: expected `file.avi` and 0, 1 or 2, found {value}": (
        "{path}:{line}：应为 `file.avi` 和 0、1 或 2，实际为 {value}"
    ),
    "{where}: {code} is no class of Charades_v1_classes.txt": "{where}：{code} 不是 Charades_v1_classes.txt 中的类别",
    "{path}: video {video} has the unknown class {name}": "{path}：视频 {video} 的类别 {name} 未知",
    "--valid_fraction must lie between 0 and 1, not {value}": "--valid_fraction 应在 0 与 1 之间，而不是 {value}",
    "there is no folder {path}; give the one that holds the videos": "没有目录 {path}；请给出存放视频的目录",
    "there is no folder {path}; give the one that holds a sub-folder a class": (
        "没有目录 {path}；请给出每个类别一个子目录的目录"
    ),
    "there is no video file below {path}; known are {suffixes}": "{path} 之下没有视频文件；支持的扩展名：{suffixes}",
    "{path} has {number} sub-folders; at least two are needed, one a class": (
        "{path} 有 {number} 个子目录；至少需要两个，每个类别一个"
    ),
    "{path} holds no video; add some or remove the folder": "{path} 中没有视频；请加入视频或删除该目录",
    "{path} is the only video of its class; two are needed, or pass --valid_dir": (
        "{path} 是该类唯一的视频；每类至少需要两段，或用 --valid_dir 指定验证集"
    ),
    "cannot read {path}: {cause}": "无法读取 {path}：{cause}",
    "{where}: expected `id;label text`, found {value}": "{where}：应为 `id;label text`，实际为 {value}",
    "{folder} holds neither {name} nor {other}": "{folder} 中既没有 {name} 也没有 {other}",
    "{path} is not UTF-8 text": "{path} 不是 UTF-8 文本",
    "{path} is empty": "{path} 是空文件",
    # reading
    "error: {path}: {cause}": "错误：{path}：{cause}",
    "error: {path}: {cause}; its segments end there": "错误：{path}：{cause}；时间段到此为止",
    "error: {path}: {cause}; no overlay video is written": "错误：{path}：{cause}；未写出叠加标注的视频",
    "broken video, counted as wrong: {path}: {cause}": "视频损坏，按错误计：{path}：{cause}",
    "broken validation video, counted as wrong: {path}: {cause}": "验证视频损坏，按错误计：{path}：{cause}",
    "replaced a broken video: {path}: {cause}": "已替换损坏的视频：{path}：{cause}",
    "{path}: {cause}": "{path}：{cause}",
    "the link leads nowhere": "链接指向的文件不存在",
    "{cause}, not a video file": "{cause}，不是视频文件",
    "a directory": "是目录",
    "a directory without numbered JPEG frames ({example})": "目录中没有编号的 JPEG 帧（{example}）",
    "an empty folder": "是空目录",
    "{name} and {other} are the same frame; remove one of them": "{name} 与 {other} 是同一帧；请删除其中一个",
    "holds {number} frames, the limit is {limit}": "含有 {number} 帧，上限为 {limit}",
    "holds {number} frames now, and held {other_number} before": "现有 {number} 帧，之前有 {other_number} 帧",
    "frame {number} is missing: {count} files are numbered up to {last}": (
        "缺少第 {number} 帧：{count} 个文件的编号最大为 {last}"
    ),
    "is {width}x{height} px, the first is {first_width}x{first_height} px": (
        "为 {width}x{height} 像素，而第一帧为 {first_width}x{first_height} 像素"
    ),
    "a broken JPEG ({reason})": "JPEG 已损坏（{reason}）",
    # members of shards
    "no such file in the index of its shard": "所在分片的索引中没有这个文件",
    "make it with tools/index_shards.py": "请用 tools/index_shards.py 生成",
    "its shard has no index; {hint}": "所在分片没有索引；{hint}",
    "the index of its shard is no index of version 1.2; {hint}": "所在分片的索引不是 1.2 版的索引；{hint}",
    "its shard is another one than its index is of; {hint}": "所在分片与它的索引不符；{hint}",
    "its shard is cut off before the end of this file": "所在分片被截断，缺少这个文件的末尾",
    # objects of stores
    "its storage: {cause}": "存储：{cause}",
    "the object ended early": "对象提前结束",
    "copies in {path} are removed before they are read; {name} is too small": (
        "{path} 中的副本在读取之前就被删除；{name} 太小"
    ),
    "{name} is a number of gigabytes above 0, not {value}": "{name} 应为大于 0 的 GB 数，而不是 {value}",
    "{path} needs a package: pip install pyarrow ({cause})": "{path} 需要安装：pip install pyarrow（{cause}）",
    # tools/pack_dataset.py, tools/index_shards.py
    "{number} of {total} videos cannot be packed, the first: {cause}; tools/check_videos.py --clean_list writes a list "
    "without them": (
        "{total} 段视频中有 {number} 段无法打包，第一段：{cause}；tools/check_videos.py --clean_list 可写出去掉它们的列表"
    ),
    "{path} holds shards of another origin; choose an empty folder": "{path} 中有来源不同的分片；请选择空目录",
    "{path} holds shards of another list, of files that have changed since, or of another --shard_mb; choose an empty "
    "folder": "{path} 中的分片来自另一个列表、之后改动过的文件或不同的 --shard_mb；请选择空目录",
    "cannot read {path}: {cause}; choose an empty folder": "无法读取 {path}：{cause}；请选择空目录",
    "{path} cannot be read any more: {cause}": "{path} 已无法读取：{cause}",
    "{path} has changed since the start; choose an empty folder and start again": (
        "{path} 在运行期间被改动；请选择空目录重新运行"
    ),
    "{path}: the name of a shard ends in .tar": "{path}：分片的文件名须以 .tar 结尾",
    "the shards hold no video; looked for {suffixes}": "分片中没有视频；查找的扩展名：{suffixes}",
    "{path} is no whole, uncompressed tar file: {cause}": "{path} 不是完整的、未压缩的 tar 文件：{cause}",
    "{path} holds {number} files called {name}; a name must be there once": "{path} 中有 {number} 个名为 {name} 的文件；名称不能重复",
    "an index cannot hold the name {name}": "索引中无法写入名称 {name}",
    # flow that was computed before
    "flow {file}: {cause}{hint}": "光流 {file}：{cause}{hint}",
    "; make it again with tools/extract_flow.py --overwrite": "；请用 tools/extract_flow.py --overwrite 重新计算",
    "no {method} flow of it in READER.flow_cache {path}": "READER.flow_cache {path} 中没有它的 {method} 光流",
    "READER.flow_cache {path} is no folder; tools/extract_flow.py makes one": (
        "READER.flow_cache {path} 不是目录；可用 tools/extract_flow.py 生成"
    ),
    "{path} is of another method than READER.flow_method {method}": "{path} 的方法与 READER.flow_method {method} 不同",
    "{path}: {difference}; change READER's keys, or make it again with tools/extract_flow.py --overwrite": (
        "{path}：{difference}；请修改 READER 的键，或用 tools/extract_flow.py --overwrite 重新计算"
    ),
    "{path}: {difference}; choose another --save_dir, or --overwrite": (
        "{path}：{difference}；请改用别的 --save_dir，或加 --overwrite"
    ),
    "computed from another video: this one is {number} bytes, it is {other_number} bytes in the manifest": (
        "由另一段视频算得：这段视频 {number} 字节，清单中为 {other_number} 字节"
    ),
    "cut off or changed: {number} bytes, {other_number} in the manifest": (
        "文件被截断或改动：{number} 字节，清单中为 {other_number} 字节"
    ),
    "{number} frames of flow, {other_number} in the manifest": "光流 {number} 帧，清单中为 {other_number} 帧",
    "{path} is flow already; set READER.flow_cache to the folder that holds it": (
        "{path} 本身就是光流；请把 READER.flow_cache 设为它所在的目录"
    ),
    "its frames are of another size from flow {number} on": "从第 {number} 个光流起，帧的尺寸不同",
    "damaged: {number} flows, after {other_number} were computed": (
        "文件损坏：只有 {number} 个光流，而之前已算出 {other_number} 个"
    ),
    "a broken npz file ({reason})": "npz 文件已损坏（{reason}）",
    "its manifest {name} is missing": "缺少清单文件 {name}",
    "its manifest {name} is no json file": "清单文件 {name} 不是 json 文件",
    "its manifest {name} is none of version {version}": "清单文件 {name} 不是版本 {version} 的清单",
    "{name} and {other} are of different sizes": "{name} 与 {other} 尺寸不同",
    "{number} files of the x plane, {other_number} of the y plane": "x 平面 {number} 个文件，y 平面 {other_number} 个",
    "its flow takes more than {number} MiB as npz; use --format h264": (
        "以 npz 存放时光流超过 {number} MiB；请用 --format h264"
    ),
    "--lossless is for --format h264; npz files are lossless": "--lossless 用于 --format h264；npz 本来就是无损的",
    "{path} and {other} would have one file in the cache; extract them with two lists": (
        "{path} 与 {other} 在缓存中会是同一个文件；请用两个列表分别计算"
    ),
    "a FIFO": "是 FIFO",
    "a socket": "是套接字",
    "a device": "是设备文件",
    "the file is empty": "文件为空",
    "only {number} bytes long": "文件只有 {number} 字节",
    "a text file, not a video": "是文本文件，不是视频",
    "the path is not UTF-8; use READER.decoder pyav": "路径不是 UTF-8 编码；请使用 READER.decoder pyav",
    "no video that can be opened ({reason})": "不是可以打开的视频（{reason}）",
    "holds no video stream that can be decoded": "没有可以解码的视频流",
    "holds no frame": "没有任何帧",
    "damaged: none of its frames can be decoded": "文件损坏：没有一帧可以解码",
    "damaged: {number} of {total} frames can be decoded": "文件损坏：{total} 帧中只有 {number} 帧可以解码",
    "damaged: {number} of {total} wanted frames can be decoded": "文件损坏：所需的 {total} 帧中只有 {number} 帧可以解码",
    "its header promises {number} frames, the limit is {limit}": "文件头声称有 {number} 帧，上限为 {limit}",
    "frames of {width}x{height} px, the limit is {limit} px": "每帧 {width}x{height} 像素，上限为 {limit} 像素",
    "took longer than {number} s (READER.seconds_per_video)": "读取超过 {number} 秒（READER.seconds_per_video）",
    "crashed the decoder, twice ({status})": "使解码器两次崩溃（{status}）",
    "hung the decoder for more than {number} s (READER.seconds_per_video)": (
        "使解码器停滞超过 {number} 秒（READER.seconds_per_video）"
    ),
    "out of memory": "内存不足",
    "{section}.num_test_clips {value} is no multiple of 3 (three crops)": (
        "{section}.num_test_clips {value} 不是 3 的倍数（三个裁剪）"
    ),
    "views {value}: write clips x crops, as 10x3 or 1x1, or whole (10xwhole)": (
        "视图 {value}：请写成 片段数x裁剪数，例如 10x3、1x1，或 whole（10xwhole）"
    ),
    "views {value}: a window is one clip; write 1x3, 1x1 or whole": (
        "视图 {value}：一个窗口就是一个片段；请写 1x3、1x1 或 whole"
    ),
    "{section}.crop_size {value} is larger than {other}.jitter_scales {scales}": (
        "{section}.crop_size {value} 大于 {other}.jitter_scales {scales}"
    ),
    "TRAIN.batch_size {value} is no multiple of the {number} processes": (
        "TRAIN.batch_size {value} 不是进程数 {number} 的倍数"
    ),
    "{number} training videos in a row cannot be read, the last: {path}: {cause}; tools/check_videos.py names all of "
    "them": "连续 {number} 段训练视频无法读取，最后一段：{path}：{cause}；可用 tools/check_videos.py 找出全部损坏的视频",
    "a reading process did not start ({cause}); try num_reader_threads: 0": (
        "读取进程未能启动（{cause}）；可试 num_reader_threads: 0"
    ),
    "one frame has no motion": "只有一帧，没有运动",
    "READER.flow_method tvl1 needs OpenCV's contrib package, which takes the place of the present one: pip uninstall "
    "opencv-python-headless, then pip install opencv-contrib-python-headless; or choose dis": (
        "READER.flow_method tvl1 需要 OpenCV 的 contrib 软件包，它取代现有的软件包：先 pip uninstall "
        "opencv-python-headless，再 pip install opencv-contrib-python-headless；或改用 dis"
    ),
    "{source}: INPUT.{name} {found} contradicts READER.modality flow, whose clips have {value}; leave one of them out": (
        "{source}：INPUT.{name} {found} 与 READER.modality flow 矛盾，光流片段为 {value}；请去掉其中一个"
    ),
    "INPUT.mean and INPUT.std hold {number} numbers, the frames have {channels} channels": (
        "INPUT.mean 与 INPUT.std 有 {number} 个数，而帧有 {channels} 个通道"
    ),
    "the demo's videos are written by PyAV: pip install av": "演示视频由 PyAV 写出：pip install av",
    "this PyAV cannot write H.264 ({reason}); its wheel from PyPI can: pip install av": (
        "当前的 PyAV 不能写 H.264（{reason}）；PyPI 上的 wheel 可以：pip install av"
    ),
    "{script} ended with status {number}; its message stands above": "{script} 以退出码 {number} 结束；原因见上文",
    "{folder} holds no finished run; leave --report_only out": "{folder} 中没有已完成的训练；请去掉 --report_only",
    "{run} ended with status {status}; its message is in {path}": "{run} 以退出码 {status} 结束；原因见 {path}",
    "{folder} was begun with other settings ({section}.{key}: {value}); choose another --output_dir or delete that folder": (
        "{folder} 是以其他设置开始的（{section}.{key}：{value}）；请换一个 --output_dir 或删除该目录"
    ),
    "{one} and {two} are not of the same videos; delete their folders and run again": (
        "{one} 与 {two} 不是同一组视频的结果；请删除这两个目录后重新运行"
    ),
    "{path} cannot be read ({cause}); delete it and run again": "无法读取 {path}（{cause}）；请删除后重新运行",
    "expected X,Y with both from 0 to 1, found {value}": "应为 X,Y，两者都在 0 与 1 之间，实际为 {value}",
    "--frame={number}: a clip has frames 0 to {last}": "--frame={number}：片段的帧号为 0 到 {last}",
    "no non-local block {name} in this network; there are: {names}": "该网络中没有 non-local 模块 {name}；可选的有：{names}",
    "unknown decoder {name}; READER.decoder is one of {choices}": "未知的解码器 {name}；READER.decoder 可选 {choices}",
    "READER.decoder {name} needs a package: pip install {package} ({cause})": (
        "READER.decoder {name} 需要安装软件包：pip install {package}（{cause}）"
    ),
    "{number} of {total} videos could not be predicted; they are named above": (
        "{total} 段视频中有 {number} 段无法预测，名称见上文"
    ),
    "no video in {path}; looked for {suffixes} and folders of JPEG frames": (
        "{path} 中没有视频；查找的扩展名：{suffixes}，以及 JPEG 帧目录"
    ),
    # weights
    "pass --weights=FILE: {cause} and nobody published weights for this network": (
        "请用 --weights=FILE 指定权重：{cause}，且该网络没有公开发布的权重"
    ),
    "{path}: there is not enough memory to read it": "{path}：内存不足，无法读取",
    "{path} cannot be read as weights: {cause}": "无法把 {path} 作为权重读取：{cause}",
    "it is damaged": "文件已损坏",
    "it is cut off": "文件不完整",
    "it is cut off or damaged": "文件不完整或已损坏",
    "it is empty": "文件为空",
    "it is no regular file": "不是普通文件",
    "it is no weight file of a known kind": "不是已知格式的权重文件",
    "it holds no tensors by name": "其中没有按名称存放的张量",
    "weights of {title} are for {padding} padding and the network has {other}; set S3D.padding: {wanted} "
    "(of hubconf's entries: leave padding out)": (
        "{title} 的权重使用 {padding} 填充，而网络使用 {other}；请设置 S3D.padding: {wanted}（hubconf 的入口请省略 padding）"
    ),
    "{name} cannot be downloaded by a program: {url}: {how}; then pass {flag}": (
        "{name} 无法由程序下载：{url}：{how}；然后使用 {flag}"
    ),
    "it is MXNet's: load it there with mxnet.nd.load and save the arrays by numpy.savez under its names": (
        "这是 MXNet 的文件：请在其中用 mxnet.nd.load 读取，再用 numpy.savez 以原名称保存各数组"
    ),
    "the folder has several checkpoints of TensorFlow; name one, such as {path}": (
        "目录中有多个 TensorFlow 检查点；请指定其中一个，例如 {path}"
    ),
    "its index is no TensorFlow checkpoint of version 2, or cut off": "其索引不是第 2 版的 TensorFlow 检查点，或不完整",
    "its clips are of {modality}, the network's of {other}": "其片段为 {modality}，网络的片段为 {other}",
    "its index is cut off or damaged": "其索引不完整或已损坏",
    "its index is damaged": "其索引已损坏",
    "its index is damaged: the checksum of a block is another one": "其索引已损坏：某个块的校验和不符",
    "its index is compressed with Snappy, which this program does not read; save it again uncompressed": (
        "其索引用 Snappy 压缩，本程序不能读取；请不压缩地重新保存"
    ),
    "its data file {name} is missing; it belongs beside the index": "缺少数据文件 {name}；它应与索引放在一起",
    "{file} is cut off: {name} ends at byte {end} of {total}": "{file} 不完整：{name} 到第 {end} 字节，文件共 {total} 字节",
    "{file} is damaged: the checksum of {name} is another one": "{file} 已损坏：{name} 的校验和不符",
    "no published weights {name}; there are {names}": "没有名为 {name} 的已发布权重；可选的有 {names}",
    "nobody published weights for {name}; pass a file of your own": ("{name} 没有公开发布的权重；请指定自己的权重文件"),
    "no ImageNet weights are published for {kind}{widths}; pass --pretrain=FILE or leave it out": (
        "{kind}{widths} 没有已发布的 ImageNet 权重；请用 --pretrain=FILE 指定文件，或去掉该参数"
    ),
    "cannot download {url} ({cause}); fetch it by hand: {command}": "无法下载 {url}（{cause}）；请手动下载：{command}",
    "cannot download {url} ({cause}); fetch it by hand: {command} ; or {instead}": (
        "无法下载 {url}（{cause}）；请手动下载：{command} ；或 {instead}"
    ),
    "{path} is not the published file (sha256 {digest}... in place of {other}...): damaged, or another one of that name; "
    "delete or rename it, then it is downloaded again": (
        "{path} 不是发布的文件（sha256 为 {digest}...，应为 {other}...）：文件已损坏，或是另一个同名文件；"
        "请将其删除或改名，随后会重新下载"
    ),
    "what came from {url} is not the expected file (sha256 {digest}... in place of {other}...); it was deleted, try again "
    "or set another {variable}": (
        "从 {url} 下载的不是预期的文件（sha256 为 {digest}...，应为 {other}...）；已将其删除，请重试或另设 {variable}"
    ),
    "{url}: write a mirror as http://, https:// or file:// in {variable}": (
        "{url}：{variable} 中的镜像地址应以 http://、https:// 或 file:// 开头"
    ),
    "{path} is of another network than the configuration's: {cause}": "{path} 属于与配置不同的网络：{cause}",
    "{cause}. Choose the configuration it was made with, or initialise a training from it with --pretrain": (
        "{cause}。请使用它所对应的配置，或用 --pretrain 以它为初始权重训练"
    ),
    "{number_missing} tensors missing, {number_extra} unexpected, {number_wrong} of another shape; first: {cause}": (
        "缺失 {number_missing} 个张量，多余 {number_extra} 个，形状不同 {number_wrong} 个；第一个：{cause}"
    ),
    "{cause}. The file is {file}; the network is {network}": "{cause}。文件是 {file}；网络是 {network}",
    "{cause}. Both are {file}, but of other widths": "{cause}。两者都是 {file}，但宽度不同",
    "{name} is missing": "{name} 缺失",
    "{name} {shape} in place of {other}": "{name} 形状为 {shape}，应为 {other}",
    "{name} is of type {kind}, not of floating-point numbers": "{name} 的类型为 {kind}，不是浮点数",
    "{name} is a variance and holds {value}: were means and variances swapped?": (
        "{name} 是方差，却含有 {value}：均值与方差是否颠倒了？"
    ),
    "none of its {number} tensors ({name}, ...) has a name of {program}": (
        "其中 {number} 个张量（{name}, ...）都没有 {program} 的名称"
    ),
    "--variant {name} cannot be carried over: {reason}": "--variant {name} 无法转换：{reason}",
    "--variant {name}: there are {choices}": "--variant {name}：可选的有 {choices}",
    "{path}: the name of converted weights ends in .pdparams": "{path}：转换后的权重文件名应以 .pdparams 结尾",
    "{path}: with --to the name ends in .safetensors or .npz": "{path}：使用 --to 时文件名应以 .safetensors 或 .npz 结尾",
    "it is {kind}, which is none of these networks; pass --arch": ("其内容是 {kind}，不属于这些网络；请用 --arch 指定"),
    "{path}: --to takes weights of this program; convert it to .pdparams first": (
        "{path}：--to 只接受本程序的权重；请先转换为 .pdparams"
    ),
    "{name} holds infinite numbers or NaN": "{name} 含有无穷大或 NaN",
    "its {number} tensors ({name}, ...) have the names of no known program": (
        "其中 {number} 个张量（{name}, ...）的名称不属于任何已知程序"
    ),
    "it asks for {module}.{name}, which weights have no use for; nothing of it was run": (
        "其中引用了权重不该使用的 {module}.{name}；未执行其中任何内容"
    ),
    "it is damaged ({reason})": "文件已损坏（{reason}）",
    "{path} is damaged, or no scores.npz: {reason}": "{path} 已损坏，或不是 scores.npz：{reason}",
    "{path}: no such file": "{path}：没有该文件",
    "--groups={source}: no group for {path}": "--groups={source}：找不到 {path} 的组",
    "--groups={file}: entry {number} is not `path group`": "--groups={file}：第 {number} 条不是 `路径 组名`",
    "cannot read --groups={file}: {reason}": "无法读取 --groups={file}：{reason}",
    "--groups={text}: neither a file nor a regular expression ({reason})": "--groups={text}：既不是文件，也不是正则表达式（{reason}）",
    "--temperature={text}: a temperature is a number above 0": "--temperature={text}：温度须为大于 0 的数",
    "--temperature={path}: neither a number nor a file ({reason})": "--temperature={path}：既不是数，也不是文件（{reason}）",
    "--temperature={path} is no temperature.json": "--temperature={path} 不是 temperature.json",
    # training
    "--restarts supervises the launcher, not its processes; give it to `bash run.sh train`": (
        "--restarts 监管的是启动器而不是各进程；请交给 `bash run.sh train`"
    ),
    "--overwrite starts a new run and --resume continues one; leave one of them out": (
        "--overwrite 从头开始，--resume 接着训练；请去掉其中一个"
    ),
    "{path} holds an earlier run ({found}): {cause}, another --save_dir keeps it, --overwrite deletes it": (
        "{path} 中已有训练结果（{found}）：{cause}；要保留它，请换一个 --save_dir；要删除它，请加 --overwrite"
    ),
    "--resume=auto continues it": "用 --resume=auto 可接着训练",
    "no good checkpoint to resume from": "其中没有可用于续训的完好检查点",
    "--resume={path}: no good checkpoint in that folder; leave --resume out to start a new run": (
        "--resume={path}：该目录中没有完好的检查点；去掉 --resume 即可从头训练"
    ),
    "{path}.json is missing, so {prefix} is no checkpoint to resume from": "缺少 {path}.json，无法从 {prefix} 续训",
    "{path}.json cannot be read as a checkpoint's state; choose another checkpoint": (
        "无法把 {path}.json 作为检查点状态读取；请换一个检查点"
    ),
    "{path}.json is not the state of a checkpoint; choose another checkpoint": "{path}.json 不是检查点状态；请换一个检查点",
    "{path}: {cause}; choose another checkpoint": "{path}：{cause}；请换一个检查点",
    "{path} is damaged (its checksum is not the one in {prefix}.json)": "{path} 已损坏（校验和与 {prefix}.json 不符）",
    "{path}.pdparams is of another network ({number} tensors differ, first {name}); resume with the run's own config.yaml": (
        "{path}.pdparams 属于另一个网络（{number} 个张量不同，第一个是 {name}）；请用该次训练自己的 config.yaml 续训"
    ),
    "process {pid} of another run writes into {path}; end it or choose another --save_dir": (
        "另一次运行的进程 {pid} 正在写入 {path}；请结束它或更换 --save_dir"
    ),
    "{path}: {free} MB free, one checkpoint needs {number} MB; free space first": (
        "{path}：剩余 {free} MB，一个检查点需要 {number} MB；请先释放磁盘空间"
    ),
    "the loss became {loss} at iteration {iteration} (videos {names} ...); lower learning_rate; the last checkpoint is "
    "{last}": "损失在第 {iteration} 次迭代变为 {loss}（视频 {names} ...）；请降低 learning_rate；最后一个检查点：{last}",
    "{number} of {total} training videos are broken, more than READER.max_broken_share allows; {list} needs repair; the "
    "last checkpoint is {last}": (
        "{total} 段训练视频中有 {number} 段损坏，超过 READER.max_broken_share 的限度；请修复 {list}；最后一个检查点：{last}"
    ),
    "TRAIN.amp {name} needs a GPU: Paddle's CPU kernels are float32; leave --amp out": (
        "TRAIN.amp {name} 需要 GPU：Paddle 的 CPU 算子只支持 float32；请去掉 --amp"
    ),
    "TRAIN.recompute works in the dynamic graph only; leave --graph=static out": (
        "TRAIN.recompute 只支持动态图；请去掉 --graph=static"
    ),
    "TRAIN.recompute: this network has no blocks that can be computed again; leave it out": (
        "TRAIN.recompute：该网络没有可以重新计算的块；请将其去掉"
    ),
    "the processes find checkpoints of different iterations in {path}: {numbers}; put it on a disk that all machines "
    "share": "各进程在 {path} 中找到的检查点迭代次数不同：{numbers}；请把它放在所有机器共享的磁盘上",
    "TRAIN.sync_bn on CPUs works in the dynamic graph only; leave --graph=static out": (
        "CPU 上的 TRAIN.sync_bn 只支持动态图；请去掉 --graph=static"
    ),
    "TRAIN.label_smoothing is for one class a video; leave it out with MODEL.multi_label": (
        "TRAIN.label_smoothing 只用于单标签分类；使用 MODEL.multi_label 时请去掉"
    ),
    "TRAIN.freeze: no layer is called {name}; there are {names} and those inside them": (
        "TRAIN.freeze：没有名为 {name} 的层；可选 {names} 及其内部的层"
    ),
    "TRAIN.freeze leaves nothing to train": "TRAIN.freeze 冻结了全部参数，没有可训练的参数",
    "{cause}; --restarts={number} are used up": "{cause}；--restarts={number} 次重启已用完",
    "the run failed (exit status {status}); its last checkpoint is of iteration {number}": (
        "训练失败（退出码 {status}）；最后一个检查点在第 {number} 次迭代"
    ),
    "{cause}, for the {number}rd time: given up; mend what its message says": (
        "{cause}，已是第 {number} 次：不再重启；请按其报错信息处理"
    ),
    "stopped by {signal}; {cause}": "被 {signal} 中止；{cause}",
    "saved {path}; --resume=auto continues": "已保存 {path}；用 --resume=auto 可接着训练",
    "before the first checkpoint": "尚未写出第一个检查点",
    "TRAIN.crop_size {value} gives {number} output positions and training has one; leave MODEL.head_pool_size out": (
        "TRAIN.crop_size {value} 会得到 {number} 个输出位置，而训练只有一个；请去掉 MODEL.head_pool_size"
    ),
    # inference and export
    "--backend={name} needs {packages}: {command}": "--backend={name} 需要 {packages}：{command}",
    "--backend={name} runs on CPUs only; add --use_gpu=False or choose another backend": (
        "--backend={name} 只支持 CPU；请加 --use_gpu=False 或换一个后端"
    ),
    "--precision=float16 needs a GPU; leave --precision out on a CPU": (
        "--precision=float16 需要 GPU；在 CPU 上请去掉 --precision"
    ),
    "--backend={name} has no bfloat16 on CPUs; choose --backend=paddle_inference or openvino": (
        "--backend={name} 在 CPU 上不支持 bfloat16；请选择 --backend=paddle_inference 或 openvino"
    ),
    "--precision=bfloat16: this processor has no bfloat16 instructions (avx512_bf16, amx_bf16); leave --precision out": (
        "--precision=bfloat16：该处理器没有 bfloat16 指令（avx512_bf16、amx_bf16）；请去掉 --precision"
    ),
    "--backend={name} failed: {cause}; choose --backend=paddle": "--backend={name} 运行失败：{cause}；请选择 --backend=paddle",
    "--backend={name} cannot load the exported network: {cause}": "--backend={name} 无法加载导出的网络：{cause}",
    "Paddle {version} cannot export this network: {cause}": "Paddle {version} 无法导出该网络：{cause}",
    "paddle2onnx cannot convert this network: {cause}": "paddle2onnx 无法转换该网络：{cause}",
    "cannot keep an exported network in {path} ({cause}); free space, or set PADDLE_NONLOCAL_HOME to a writable "
    "folder": ("无法在 {path} 中保存导出的网络（{cause}）；请释放磁盘空间，或把 PADDLE_NONLOCAL_HOME 设为可写的目录"),
    "--backend={name} --precision={precision} computes other scores than the network itself (by {number} of 1, its "
    "logits by {relative}); choose --backend=paddle": (
        "--backend={name} --precision={precision} 的得分与网络本身不一致（相差 {number}，logits 相差 {relative}）；"
        "请选择 --backend=paddle"
    ),
    "--draw={path} is the video itself; choose another file": "--draw={path} 就是视频本身；请换一个文件",
    "--draw={path} is one file for {number} videos; name a folder": "--draw={path} 是一个文件，而视频有 {number} 段；请给出目录",
    "cannot encode {path}: {cause}": "无法编码 {path}：{cause}",
    "clips of {frames} x {height} x {width} need a fixed size: add --crop_size={side}": (
        "{frames} x {height} x {width} 的片段需要固定尺寸：请加 --crop_size={side}"
    ),
    "--features={name}: the network's stages are {names}": "--features={name}：该网络的阶段有 {names}",
    "--video_path: {path}: {cause}": "--video_path：{path}：{cause}",
    "the exported network computes something else (allowed: {limits}); nothing is written": (
        "导出的网络计算结果与原网络不一致（允许误差：{limits}）；未写出任何文件"
    ),
}

# What the operating system says, as Python's errors hold it.
SYSTEM = {
    "No such file or directory": "没有该文件或目录",
    "no such file or directory": "没有该文件或目录",
    "Permission denied": "权限不足",
    "permission denied": "权限不足",
    "Is a directory": "是一个目录",
    "Not a directory": "不是目录",
    "File exists": "文件已存在",
    "File name too long": "文件名过长",
    "No space left on device": "磁盘空间不足",
    "Read-only file system": "文件系统只读",
    "Disk quota exceeded": "超出磁盘配额",
    "Too many open files": "打开的文件过多",
    "Input/output error": "输入输出错误",
    "Cannot allocate memory": "无法分配内存",
    # what pydantic and Starlette say of a request to the server
    "Field required": "缺少该项",
    "Extra inputs are not permitted": "没有该项",
    "JSON decode error": "不是有效的 JSON",
    "Method Not Allowed": "该地址不支持此方法",
    "Input should be a valid dictionary or object to extract fields from": "应为 JSON 对象",
    "Input should be a valid string": "应为字符串",
    "Input should be a valid integer": "应为整数",
    "Input should be a valid integer, unable to parse string as an integer": "应为整数",
    "Input should be a valid integer, got a number with a fractional part": "应为整数，不能有小数部分",
    "Input should be a valid number": "应为数",
    "Input should be a valid number, unable to parse string as a number": "应为数",
    "Input should be a finite number": "应为有限的数",
    "Input should be greater than {number}": "应大于 {number}",
    "Input should be greater than or equal to {number}": "应不小于 {number}",
    "Input should be less than or equal to {number}": "应不大于 {number}",
    "Input should be {names} or {name}": "应为 {names} 或 {name}",
    "String should have at most {number} characters": "最多 {number} 个字符",
}

# What the configuration's keys and sections mean (configs/schema.py), for docs/zh/configuration.md.
KEYS = {
    # sections
    "The network: its family, architecture, classes and head.": "网络：家族、结构、类别与分类头。",
    "What a clip is. The sections of the phases (TRAIN, VALID, TEST, INFER) follow these keys and may override them.": (
        "片段的定义。各阶段的小节（TRAIN、VALID、TEST、INFER）沿用这里的值，也可以覆盖。"
    ),
    "Widths and depths of the residual trunk (family NONLOCAL).": "残差主干的宽度与深度（NONLOCAL 家族）。",
    "The non-local blocks and where they stand (family NONLOCAL).": "non-local 模块及其位置（NONLOCAL 家族）。",
    "Training: its list and clips, the recipe, checkpoints.": "训练：列表与片段、训练方案、检查点。",
    "The evaluation during training: one centre crop a video.": "训练期间的验证：每段视频一个中心裁剪。",
    "What TEST and INFER share.": "TEST 与 INFER 共有的配置项。",
    "The test protocol of eval.py.": "eval.py 的测试方式。",
    "The clips of predict.py and export.py.": "predict.py 与 export.py 的片段。",
    "Actions of boxes on key frames (MODEL.task detection): annotations, where boxes come from, the head.": (
        "关键帧上各框的动作（MODEL.task: detection）：标注、框的来源、分类头。"
    ),
    "pbtxt of the classes; their ids are 1 to MODEL.num_classes": "类别的 pbtxt；编号为 1 到 MODEL.num_classes",
    "csv of the boxes and actions of TRAIN.filelist, whose lines are `path video`": (
        "TRAIN.filelist（每行 `path video`）中视频的框与动作，csv"
    ),
    "the same of VALID.filelist and TEST.filelist": "同上，用于 VALID.filelist 与 TEST.filelist",
    "boxes that validations and eval.py classify: truth, the annotated ones; file: those of proposal_file; rpn: "
    "those of the proposal network": (
        "验证与 eval.py 分类的框：truth 为标注框；file 为 proposal_file 中的框；rpn 为提议网络给出的框"
    ),
    "a region proposal network on the key frame is part of the network, and trained with it": (
        "网络中含关键帧上的区域提议网络，一同训练"
    ),
    "csv of boxes with scores, for proposals: file": "带得分的框，csv，用于 proposals: file",
    "channels in the first bottlenecks of the proposal network; 64: ResNet-50": (
        "提议网络最前面各瓶颈块内的通道数；64 即 ResNet-50"
    ),
    "anchors of a frame that its loss is computed of; of a small frame with few anchors take fewer": (
        "每帧计算其损失的锚框数；画面小、锚框少时取少些"
    ),
    "bottlenecks of its layer1 to layer3": "其 layer1 到 layer3 的瓶颈块数",
    "of its anchors: square roots of the areas, pixels of the crop": "其锚框的尺寸：面积的平方根，按裁剪后的像素",
    "of its anchors: height / width": "其锚框的高宽比",
    "csv of frames `video,second` that are not learned from, as AVA's excluded lists": (
        "不用于学习的帧的 csv（`video,second`），如 AVA 的排除列表"
    ),
    "the same of frames that are not judged": "同上，不参与评判的帧",
    "second of the csv files at which a video's file begins: 900 for AVA's pieces of 15 minutes": (
        "视频文件开始处对应 csv 文件中的第几秒：AVA 的 15 分钟片段为 900"
    ),
    "the rules by which eval.py judges boxes; act needs boxes in pixels": "eval.py 评判框的规则；act 需要像素框",
    "boxes of a file or of the proposal network below this score are left out": (
        "文件或提议网络中得分低于此值的框不使用"
    ),
    "csv of predicted boxes of TRAIN.filelist with scores, learned from beside the annotated ones; empty: none": (
        "TRAIN.filelist 上预测的带得分的框，csv，与标注框一同用于训练；空：没有"
    ),
    "boxes of train_proposals below this score are left out": "train_proposals 中低于此得分的框不用",
    "IoU with a true box from which on a proposal, or a box of train_proposals, has its labels in training": (
        "训练时，提议框与标注框的 IoU 达到此值便取其标签"
    ),
    "boxes of a clip in training, the true ones among them": "训练时每个片段的框数上限，含标注框",
    "the 3x3 convolutions of res5 (of S3D: mixed_5b and mixed_5c), which has stride 1, are dilated by 2": (
        "步长为 1 的 res5（S3D：mixed_5b 与 mixed_5c）中，3x3 卷积的空洞率为 2"
    ),
    "cells on a side of a box": "框每边的格数",
    "what is taken over the cells of a box": "框内各格取最大值还是均值",
    "RoIAlign counts from the edges of pixels; False: from their centres": (
        "RoIAlign 从像素边缘起算；False 为从像素中心起算"
    ),
    "points of a cell on an axis; 0: by the size of the box": "每格每轴的采样点数；0 为按框的大小",
    "of proposals that overlap more, in a class, the highest score is kept": (
        "同一类别中，重叠超过此 IoU 的提议框只保留得分最高者"
    ),
    "How video files are read.": "如何读取视频文件。",
    # MODEL
    "the family of networks": "网络家族",
    "the architecture; of NONLOCAL: {names}": "网络结构；NONLOCAL 可选：{names}",
    "number of classes": "类别数",
    "names the class-name file data/dataset/nonlocal/<dataset>_labels.txt": (
        "决定类别名文件 data/dataset/nonlocal/<dataset>_labels.txt"
    ),
    "file of class names (txt or the zoo's json); empty: by dataset": (
        "类别名文件（txt，或模型库的 json）；留空时由 dataset 决定"
    ),
    "frozen scale and shift in place of batch norm, in the trunk": "主干中用冻结的 scale 与 shift 代替批归一化",
    "fraction of features dropped in front of the classifier": "分类层之前 dropout 的比例",
    "standard deviation of the classifier's first weights": "分类层初始权重的标准差",
    "fraction of the old running statistics kept at each step": "每步保留旧滑动统计量的比例",
    "added to the variance": "加在方差上的小量",
    "first scale of the last norm of each residual branch": "每个残差分支最后一个归一化的初始 scale",
    "temporal stride of conv1 (2 in the 32x2 and 128x1 models)": "conv1 的时间步长（32x2 与 128x1 模型为 2）",
    "temporal kernel of pool1 (2 in the 32x2 and 128x1 models)": "pool1 的时间窗口（32x2 与 128x1 模型为 2）",
    "temporal stride of pool1 (2 in the 32x2 and 128x1 models)": "pool1 的时间步长（32x2 与 128x1 模型为 2）",
    "spatial padding of pool1 (1 in PySlowFast, torchvision)": "pool1 的空间填充（PySlowFast、torchvision 为 1）",
    "pool2, which halves the frames after res2": "pool2，在 res2 之后把帧数减半",
    "side of the last average pool; none: res5's side for INPUT.crop_size; 0: the whole map": (
        "最后平均池化的边长；不设时取 INPUT.crop_size 对应的 res5 边长；0 表示整张特征图"
    ),
    "several classes a video: sigmoid, binary cross-entropy, mean average precision": (
        "一段视频多个类别：sigmoid、二元交叉熵、平均精度均值"
    ),
    "what is learned, a name of tasks.TASKS; none: by multi_label": "学习什么，tasks.TASKS 中的名称；不设时由 multi_label 决定",
    "what is averaged over output positions": "对各输出位置求平均的量",
    # INPUT
    "frames of a clip": "每个片段的帧数",
    "frames of the video from one sampled frame to the next": "相邻两个采样帧之间相隔的视频帧数",
    "side of the crops of TRAIN and VALID, pixels": "TRAIN 与 VALID 裁剪的边长，像素",
    "range of the short side, pixels, both ends included; TEST and INFER take the first number as their short side and "
    "crop_size": "短边的范围，像素，两端均含；TEST 与 INFER 取第一个数作为短边和 crop_size",
    "False: frames become squares of side `scales`, whatever their shape; TRAIN, VALID, TEST and INFER alike": (
        "False：无论帧的形状如何，都缩放为边长为 `scales` 的正方形；TRAIN、VALID、TEST、INFER 相同"
    ),
    "channels of a clip: 3 for RGB": "片段的通道数：RGB 为 3",
    "subtracted, per channel (one number: all channels)": "各通道减去的均值（只写一个数时用于所有通道）",
    "the difference is divided by it, per channel": "各通道减去均值后所除的标准差",
    # S3D
    "The Inception trunks (family S3D).": "Inception 主干（S3D 家族）。",
    "same: of TensorFlow, as DeepMind's and the authors' programs; symmetric: as torchvision, kylemin, gluon-cv. Tensor "
    "names and shapes cannot tell them apart": (
        "same：TensorFlow 的填充，DeepMind 与作者的程序如此；symmetric：torchvision、kylemin、gluon-cv 如此。"
        "张量的名称与形状无法区分二者"
    ),
    "top_heavy_*: the lowest layer that convolves time: conv_1a, conv_2c, mixed_3b ... mixed_5c; the text `none`: no "
    "layer": "top_heavy_*：最低的时间卷积层：conv_1a、conv_2c、mixed_3b ... mixed_5c；写 `none` 表示没有",
    "bottom_heavy_*: the highest layer that convolves time, as temporal_from": (
        "bottom_heavy_*：最高的时间卷积层，写法同 temporal_from"
    ),
    "feature gating. branches: after conv_2c and each branch of the blocks, as the authors' program; temporal: after "
    "each temporal convolution, as the paper says; none: no gates; omitted: the architecture's": (
        "特征门控。branches：在 conv_2c 与各块的每个分支之后，与作者的程序一致；temporal：在每个时间卷积之后，"
        "如论文所述；none：无门控；不写：由架构决定"
    ),
    "a bias in the gates; omitted: the architecture's": "门控是否带偏置；不写：由架构决定",
    "branches of a block with temporal convolutions; 4: 1x1x1 ones have one, too (S3D)": (
        "每块中带时间卷积的分支数；4：1x1x1 的分支也带（S3D）"
    ),
    "factor of all channel counts, rounded to multiples of 4": "所有通道数的倍率，取整到 4 的倍数",
    "standard deviation of the first weights (truncated normal); none: He's, by fan-in": (
        "初始权重的标准差（截断正态分布）；不设时按扇入用 He 初始化"
    ),
    "frames of the last average pool, stride 1; 0: all; omitted: the architecture's (2)": (
        "最后平均池化的帧数，步长 1；0 表示全部；不写：由架构决定（2）"
    ),
    # RESNETS
    "groups of conv_b (ResNeXt when above 1)": "conv_b 的分组数（大于 1 即 ResNeXt）",
    "channels of a group inside res2's bottlenecks; doubles with each stage": (
        "res2 瓶颈内部每组的通道数；每个阶段加倍"
    ),
    "channels of conv1": "conv1 的通道数",
    "output channels of res2; doubles with each stage": "res2 的输出通道数；每个阶段加倍",
    "blocks of res2..res5 in place of the depth's own": "res2..res5 的块数，代替该深度自身的块数",
    # NONLOCAL
    "first scale of the block's norm; 0: the block starts as the identity": (
        "模块归一化的初始 scale；0 表示模块开始时是恒等映射"
    ),
    "a block after each i where i mod layer_mod = layer_mod - 1 (R101, res4: 7)": (
        "在满足 i mod layer_mod = layer_mod - 1 的每个块 i 之后放一个模块（R101 的 res4 为 7）"
    ),
    "non-local blocks in res3": "在 res3 中使用 non-local 模块",
    "non-local blocks in res4": "在 res4 中使用 non-local 模块",
    "standard deviation of the block's first weights": "模块初始权重的标准差",
    "1: the block's convolutions have no bias": "1 表示模块的卷积没有偏置",
    "halve height and width of x_j before phi and g": "在 phi 与 g 之前把 x_j 的高宽减半",
    "False: dot product in place of the softmax": "False 表示用点积代替 softmax",
    "multiply theta^T phi by (inner channels)^-0.5": "theta^T phi 乘以（内部通道数）^-0.5",
    "the output convolution starts at 0 (for use_bn: False)": "输出卷积从 0 开始（用于 use_bn: False）",
    "a norm after the output convolution": "输出卷积之后使用归一化",
    "that norm is a frozen scale and shift": "该归一化为冻结的 scale 与 shift",
    "the paper's 0, 1, 5 or 10 blocks, in place of the zoo's three keys": (
        "论文中的 0、1、5 或 10 个模块，代替模型库的三个键"
    ),
    "blocks after these residual blocks, counted from 0: {{res3: [1, 3], res4: [1, 3, 5]}}": (
        "在这些残差块之后放模块，从 0 数起：{{res3: [1, 3], res4: [1, 3, 5]}}"
    ),
    "the pairwise function; none: embedded_gaussian, or dot_product for use_softmax: False": (
        "成对函数；不设时为 embedded_gaussian，use_softmax: False 时为 dot_product"
    ),
    "the positions that one position sees": "一个位置所能看到的位置",
    "positions see groups of so many frames: {{res3: 4}}; none: that for MODEL.use_affine, else no groups": (
        "各位置只看这么多帧的一组：{{res3: 4}}；不设时，MODEL.use_affine 取此值，否则不分组"
    ),
    "queries of a softmax computed at once; none: by size": "softmax 一次计算的查询数；不设时按尺寸决定",
    "use_maxpool's pool after phi and g (mmaction2) in place of before": (
        "use_maxpool 的池化放在 phi 与 g 之后（mmaction2），而不是之前"
    ),
    # TRAIN, VALID
    "passes over the training list at most": "最多遍历训练列表的轮数",
    "reading processes; never more than the machine's cores": "读取进程数；不超过机器的核心数",
    "clips in a step, over all processes together": "每步的片段数，所有进程合计",
    "training list, `path label` a line": "训练列表，每行 `path label`",
    "side of the crop, pixels": "裁剪的边长，像素",
    "frames between two sampled frames": "相邻两个采样帧的间隔帧数",
    "range of the short side, pixels, both ends included": "短边的范围，像素，两端均含",
    "mirror half of the clips; swap: the label of a mirrored clip of Something-Something changes left for right; skip: "
    "clips of such classes are never mirrored; False where left and right are the label": (
        "对一半的片段做镜像；swap：Something-Something 的片段镜像后，标签中的左右互换；skip：这些类别的片段不做镜像；"
        "标签与左右有关时设为 False"
    ),
    "first learning rate": "初始学习率",
    "factor of the learning rate between two phases": "相邻两段之间学习率的衰减系数",
    "lengths of the phases in iterations": "各段的长度，迭代次数",
    "training ends at this iteration, whatever `epoch` says": "训练到此迭代次数结束，与 `epoch` 无关",
    "L2 on convolutions and the classifier, their biases included": "卷积与分类层（含偏置）的 L2 正则系数",
    "L2 on the scale and shift of batch norm": "批归一化 scale 与 shift 的 L2 正则系数",
    "momentum": "动量",
    "Nesterov's form of momentum": "使用 Nesterov 动量",
    "linear rule: the recipe is written for this batch; rate x batch / it, iterations x it / batch": (
        "线性规则：训练方案按此批大小编写；学习率乘以 batch / 此值，迭代次数乘以 此值 / batch"
    ),
    "how the learning rate falls: step_sizes, or half a cosine": "学习率的下降方式：按 step_sizes，或半个余弦",
    "the learning rate grows linearly over so many first iterations": "最初若干次迭代中学习率线性上升",
    "a batch is computed in so many pieces, their gradients added": "一个批次分成若干份计算，梯度相加",
    "a longer gradient (norm over all parameters) is cut to it": "梯度（全部参数的范数）超过此值时裁剪到此值",
    "fraction of each target spread evenly over all classes": "每个目标均摊到所有类别的比例",
    "clips are blended in pairs, the ratio from Beta(alpha, alpha); 0 disables": (
        "片段两两混合，比例取自 Beta(alpha, alpha)；0 表示不使用"
    ),
    "a box of another clip is pasted, area from Beta(alpha, alpha); 0 disables": (
        "粘贴另一片段的方块，面积取自 Beta(alpha, alpha)；0 表示不使用"
    ),
    "of the weights' average, which is evaluated and published; 0: none": (
        "权重滑动平均的衰减系数，用平均权重评估并发布；0 表示不使用"
    ),
    "training batches for norm statistics before an evaluation; 0: running ones": (
        "评估前重新统计归一化所用的训练批次数；0 表示用滑动统计量"
    ),
    "norm statistics over the clips of all GPUs in place of each GPU's own": (
        "归一化统计所有 GPU 的片段，而不是各 GPU 各自统计"
    ),
    "layers that are not trained, by the start of their names: [stem, res2]": (
        "不训练的层，按名称开头指定：[stem, res2]"
    ),
    "norms keep their statistics, scale and shift": "归一化保持统计量、scale 与 shift 不变",
    "of the learning rate, for all but the classifier": "分类层以外部分的学习率系数",
    "activations of a block are computed again for its gradients: less memory, more time": (
        "反向传播时重新计算各块的激活：省内存，费时间"
    ),
    "mixed precision on GPUs: its narrow type": "GPU 混合精度所用的窄类型",
    "static: train through a compiled graph": "static 表示编译为静态图训练",
    "iterations between two checkpoints inside an epoch; 0: none there": (
        "一轮之内每隔多少次迭代写一个检查点；0 表示不写"
    ),
    "newest epoch checkpoints that are kept; 0: all": "保留最新的若干个轮检查点；0 表示全部保留",
    "of --fix_random_seed True: first weights, order, crops, dropout": (
        "--fix_random_seed True 时的随机种子：初始权重、顺序、裁剪、dropout"
    ),
    "validation list, `path label` a line": "验证列表，每行 `path label`",
    "side of the centre crop, pixels": "中心裁剪的边长，像素",
    "the first one is the short side, pixels": "第一个数是短边，像素",
    # TEST, INFER, READER
    "searched for NONLOCAL.pdparams when --weights is omitted": "省略 --weights 时在此目录中查找 NONLOCAL.pdparams",
    "side of a view, pixels": "视图的边长，像素",
    "the short side, pixels; both numbers are equal": "短边，像素；两个数相同",
    "views of a video: a third as many clips, three crops each": "每段视频的视图数：片段数为其三分之一，每个片段三个裁剪",
    "1: three crops; 2: their mirror images too": "1 为三个裁剪；2 还包括其镜像",
    "views in a step": "每步的视图数",
    "`path label` a line, or the zoo's four columns": "每行 `path label`，或模型库的四列格式",
    "labels of the four columns, by line number": "四列格式的标签，按行号对应",
    "videos expected in the list; another number prints a warning": "列表中应有的视频数；不符时打印警告",
    "videos to predict, one a line": "待预测的视频，每行一个",
    "a video or a folder to predict; --video_path overrides it": "待预测的视频或目录；--video_path 覆盖它",
    "the zoo's key for MODEL.class_names; used for prediction when set": (
        "模型库中对应 MODEL.class_names 的键；设置后用于预测"
    ),
    "decoder; pyav is the exact one": "解码器；pyav 是精确的",
    "time limit for reading a video, after which it counts as broken": "读取一段视频的时限，超时按损坏处理",
    "rgb, or flow: optical flow of 2 channels in [-1, 1], for which INPUT.channels is 2, mean 0 and std 1": (
        "rgb，或 flow：取值在 [-1, 1] 的双通道光流，此时 INPUT.channels 为 2，mean 为 0，std 为 1"
    ),
    "videos are first resampled to so many frames a second, the frames nearest in time; none: all frames": (
        "先把视频重采样到该帧率（帧/秒），取时间上最近的帧；none：使用全部帧"
    ),
    "tvl1: of published networks, slow, needs opencv-contrib; dis, dis_fast; farneback": (
        "tvl1：已发布的网络所用，慢，需要 opencv-contrib；dis、dis_fast；farneback"
    ),
    "flow is cut to so many pixels and divided by it": "光流截断到该像素数，再除以它",
    "short side of the frames between which flow is computed, pixels": "计算光流所用帧的短边，像素",
    "folder of flow that tools/extract_flow.py wrote; empty: computed while reading": (
        "tools/extract_flow.py 写出的光流目录；空：读取时计算"
    ),
    "frames a second of folders of JPEG frames, which do not say it": "JPEG 帧目录的帧率（目录本身不含此信息），帧/秒",
    "a larger fraction of broken videos stops training": "损坏视频的比例超过此值时停止训练",
    # old keys, keys without effect
    "1 to 4: {names}": "1 至 4：{names}",
    "50 or 101; must not contradict MODEL.arch": "50 或 101；不得与 MODEL.arch 矛盾",
    "the mean of all channels": "所有通道的均值",
    "the deviation of all channels": "所有通道的标准差",
    "the same": "同上",
    "the residual branch; there is this one": "残差分支；只有这一种",
    "the recipe's GPUs; batch_size is the whole batch on any number of them": (
        "训练方案所用的 GPU 数；无论几个 GPU，batch_size 都是整个批次"
    ),
    "always as with True: Paddle keeps the learning rate outside the momentum buffer": (
        "始终相当于 True：Paddle 的动量中不含学习率"
    ),
}

# tools/analyse.py
ERRORS.update(
    {
        "{path}: no kernel of {arch} spans several frames; choose a network that convolves time": (
            "{path}：{arch} 没有跨多帧的卷积核；请选择在时间上做卷积的网络"
        ),
        't-SNE needs scikit-learn: pip install ".[analysis]"': 't-SNE 需要 scikit-learn：pip install ".[analysis]"',
        "{path}: {number} videos of the groups; t-SNE needs {number_needed} or more": (
            "{path}：所选分组只有 {number} 段视频；t-SNE 至少需要 {number_needed} 段"
        ),
        "{path}: all videos are of one class or group, {name}; there must be two or more": (
            "{path}：所有视频都属于同一类别或分组 {name}；须有两个或更多"
        ),
        "{path}: no two videos are of one class or group; add videos, or --groups": (
            "{path}：没有两段视频属于同一类别或分组；请增加视频，或使用 --groups"
        ),
        "--groups={groups}: no class name belongs to a group; are these Something-Something's labels?": (
            "--groups={groups}：没有类别名属于任何分组；这些是 Something-Something 的标签吗？"
        ),
        "--stages={stage}: the network's stages are {stages}": "--stages={stage}：该网络的阶段为 {stages}",
        "--forwards and --reversed go together: two folders of eval.py, the second of --reverse_frames": (
            "--forwards 与 --reversed 须一起使用：eval.py 的两个目录，第二个用 --reverse_frames 评估"
        ),
        "frames reversed: the two evaluations are not of the same videos and labels": (
            "帧顺序反转：两次评估的视频与标签不同"
        ),
        "{folder} holds no results.json of eval.py: {cause}": "{folder} 中没有 eval.py 的 results.json：{cause}",
        "--archs={arch}: there are {archs}": "--archs={arch}：可用的有 {archs}",
    }
)

# tools/classify_dataset.py, tools/collect_results.py, tools/plan_dataset.py
TOOLS.update(
    {
        "What a run of tools/classify_dataset.py over N videos will take: time, parts, bytes and cost.": (
            "估计 tools/classify_dataset.py 处理 N 段视频所需的时间、分片数、字节数与费用。"
        ),
        "Measure the seconds first: `progress.json` of a run over some thousand videos has videos_per_second; the seconds are "
        "the workers divided by it. Times are calculated: T = N s / (0.95 w). --simulate runs the scheduler itself in virtual "
        "time, with slow and failing workers; no video is read.": (
            "请先测量每段视频的秒数：对几千段视频运行一次，`progress.json` 中有 videos_per_second；工作进程数除以它即为秒数。\n"
            "时间由 T = N s / (0.95 w) 算出。--simulate 在虚拟时间中运行调度器本身，含慢的和出故障的工作进程；不读取任何视频。"
        ),
        "number of videos; 1e6 is a million": "视频数；1e6 为一百万",
        "of one worker, measured": "单个工作进程每段视频的秒数（实测）",
        "number of workers": "工作进程数",
        "videos in a part (default: five minutes of work)": "每个分片的视频数（默认：五分钟的工作量）",
        "what is kept of the scores (default: %(default)s)": "保留哪些得分（默认：%(default)s）",
        "of a worker, in any currency": "每个工作进程每小时的价格，币种任意",
        "run the scheduler in virtual time": "在虚拟时间中运行调度器",
        "parts that take 20 times as long, in the simulation (default: %(default)s)": (
            "模拟中用时为 20 倍的分片比例（默认：%(default)s）"
        ),
        "of a worker on average, in the simulation (default: %(default)s)": (
            "模拟中单个工作进程平均多少小时出一次故障（默认：%(default)s）"
        ),
        "The parts of tools/classify_dataset.py as one file, and their accuracy where labels are known.": (
            "把 tools/classify_dataset.py 的分片合并为一个文件；有标签时给出准确率。"
        ),
        "A column class_name is added; in a CSV file lists are JSON. --labels is the list that was classified, with its "
        "labels: prints top-1 and top-5 with 95 % intervals; a video with an error counts as wrong. Parts of a run that is "
        "not finished are collected too, with a warning. --compact joins the parts in their folder to files of 256 MB and "
        "deletes them.": (
            "增加 class_name 列；CSV 文件中的列表写作 JSON。--labels 是当时分类的列表（含标签）：打印 top-1、top-5 及 95 % 置信区间；\n"
            "出错的视频计为错误。未完成的运行也可合并，并给出警告。--compact 在原目录中把分片合并为 256 MB 的文件并删除分片。"
        ),
        "output folder of tools/classify_dataset.py": "tools/classify_dataset.py 的输出目录",
        "write the rows here: .parquet or .csv": "把各行写入此文件：.parquet 或 .csv",
        "the list that was classified, as `path label` lines": "当时分类的列表，每行为“路径 标签”",
        "Classify the videos of a list of any length with many workers; a run that was stopped continues where it was.": (
            "用多个工作进程对任意长的列表中的视频分类；中断的运行会从中断处继续。"
        ),
        "Writes out/parts/000/part-000000.parquet ..., a row per video in the list's order: id, path, class, probability, "
        "error and more (docs/cluster.md). A video that cannot be scored is a row with an error. out/_SUCCESS is written at "
        "the end. The exit status is 2 when there are errors among the rows.": (
            "写出 out/parts/000/part-000000.parquet 等文件，每段视频一行，顺序与列表相同：id、path、class、probability、error 等\n"
            "（见 docs/zh/cluster.md）。无法打分的视频也占一行，并写明 error。结束时写出 out/_SUCCESS。有错误行时退出码为 2。"
        ),
        "a list, a folder, or a Parquet file with a column path": "列表、目录，或含有 path 列的 Parquet 文件",
        "output folder; the run that it holds is continued": "输出目录；其中已有的运行会继续",
        "where the workers run: processes of this machine, actors of Ray, tasks of a Slurm array, or of the Spark "
        "that starts this tool (default: %(default)s)": (
            "工作进程在何处运行：本机的进程、Ray 的 actor、Slurm 作业数组的任务，或启动本工具的 Spark 的任务（默认：%(default)s）"
        ),
        "of --cluster slurm: '--partition=gpu --time=8:0:0'": "用于 --cluster slurm，例如 '--partition=gpu --time=8:0:0'",
        "compute only every N-th part, from part I on (from 0): one task of any job array": (
            "只计算从第 I 个（从 0 数起）开始的每第 N 个分片：任意作业数组中的一个任务"
        ),
        "processes, or tasks (default: %(default)s)": "进程数或任务数（默认：%(default)s）",
        "a worker that holds more ends itself; its part is cut until the video is found (default: no bound)": (
            "占用内存超过此值的工作进程自行结束；其分片被切分，直到找出那段视频（默认：不限制）"
        ),
        "join the parts of a finished run to few large files in results/": (
            "把已完成运行的分片合并为 results/ 中的少数大文件"
        ),
        "of a running Ray cluster, or auto (default: Ray is started here)": (
            "正在运行的 Ray 集群的地址，或 auto（默认：在本机启动 Ray）"
        ),
        "of --cluster ray: 0.5 puts two workers on a GPU (default: %(default)s)": (
            "用于 --cluster ray：0.5 表示每个 GPU 上两个工作进程（默认：%(default)s）"
        ),
        "processes (default: %(default)s)": "进程数（默认：%(default)s）",
        "videos in a part, the unit of work and of loss: two to ten minutes of it (default: %(default)s)": (
            "每个分片的视频数；分片是调度单位，也是中断时最多损失的量，宜为两到十分钟的工作（默认：%(default)s）"
        ),
        "what predict.py can compute of a video (default: %(default)s)": (
            "要计算的内容，与 predict.py 相同（默认：%(default)s）"
        ),
        "as predict.py's (default: INFER.num_test_clips as Nx3; of segments: whole)": (
            "与 predict.py 相同（默认：按 INFER.num_test_clips 取 Nx3；时间段：whole）"
        ),
        "topk:N, all:float16 or all:float32 scores of classes (default: %(default)s)": (
            "保留哪些类别得分：topk:N、all:float16 或 all:float32（默认：%(default)s）"
        ),
        "score videos again, with --refine_views, whose best class is less probable than this": (
            "最高类别概率低于此值的视频，用 --refine_views 重新打分"
        ),
        "more views than --views has, as 10x3": "比 --views 更多的视图，例如 10x3",
        "of --task detect: the persons, as predict.py's": "用于 --task detect：人的框，同 predict.py",
        "of --task detect: as predict.py's": "用于 --task detect：同 predict.py",
        "of --task features: a stage, as res5": "用于 --task features：某一阶段，例如 res5",
        "compute parts again that hold a missing video, one that took too long, or one that killed its worker": (
            "重新计算含有以下视频的分片：缺失的、超时的、使工作进程崩溃的"
        ),
        "more errors among the first 1,000 videos stop the run (default: %(default)s)": (
            "前 1000 段视频中错误比例超过此值时停止运行（默认：%(default)s）"
        ),
    }
)
ERRORS.update(
    {
        "expected a number from 0 to 1, found {value}": "应为 0 到 1 之间的数，实际为 {value}",
        "--refine and --refine_views go together": "--refine 与 --refine_views 须同时给出",
        "--task features and --features=STAGE go together": "--task features 与 --features=阶段 须同时给出",
        "--refine goes with --task classes": "--refine 只用于 --task classes",
        "--stride_seconds goes with --task segments and --task detect": (
            "--stride_seconds 只用于 --task segments 与 --task detect"
        ),
        "--boxes and --detector go with --task detect": "--boxes 与 --detector 只用于 --task detect",
        "--address and --gpus_per_worker go with --cluster ray": "--address 与 --gpus_per_worker 只用于 --cluster ray",
        '--cluster ray needs ray: pip install ".[ray]"': '--cluster ray 需要 ray：pip install ".[ray]"',
        "no Ray at --address={address}: {cause}": "--address={address} 处没有 Ray：{cause}",
        "--workers {number_of_workers}: the cluster has {number_of_cores} cores and {number_of_gpus} GPUs": (
            "--workers {number_of_workers}：集群只有 {number_of_cores} 个核心和 {number_of_gpus} 个 GPU"
        ),
        "Ray has died: no machine of the cluster is alive; start the same command again": (
            "Ray 已终止：集群中没有存活的机器；请再次启动同一条命令"
        ),
        "the workers do not start ({name}: {reason})": "工作进程无法启动（{name}：{reason}）",
        "pass --to, --labels or --compact": "请给出 --to、--labels 或 --compact",
        "--to: name a .parquet or a .csv file": "--to：请给出 .parquet 或 .csv 文件",
        "{path} holds no parts; run tools/classify_dataset.py": "{path} 中没有分片；请运行 tools/classify_dataset.py",
        "{path} is no output folder of tools/classify_dataset.py: no run.json": (
            "{path} 不是 tools/classify_dataset.py 的输出目录：没有 run.json"
        ),
        "{path}/{name} is damaged ({cause}); delete it and start the run again": "{path}/{name} 已损坏（{cause}）；请删除并重新启动运行",
        "{path}: its parts were joined (--compact); choose another --output": (
            "{path}：其分片已合并（--compact）；请换一个 --output"
        ),
        "--share={value}: write I/N with I from 0 to N - 1": "--share={value}：请写 I/N，I 从 0 到 N - 1",
        "{number} parts are missing, the first is {first}; start the run again": (
            "缺少 {number} 个分片，第一个是 {first}；请重新启动运行"
        ),
        "sbatch took no job (exit status {number}); its message is above, the script is {path}": (
            "sbatch 没有接受作业（退出码 {number}）；其报错见上文，脚本是 {path}"
        ),
        "array {number} has ended with parts missing; see {path}, start the same command again": (
            "作业数组 {number} 已结束，但缺少分片；见 {path}，请再次启动同一条命令"
        ),
        "--cluster slurm needs {name}; start it where Slurm is": "--cluster slurm 需要 {name}；请在装有 Slurm 的机器上启动",
        "--cluster spark needs pyspark: start this tool with spark-submit": (
            "--cluster spark 需要 pyspark：请用 spark-submit 启动此工具"
        ),
        "Spark's job has failed: {cause}; start the same command again": "Spark 作业失败：{cause}；请再次启动同一条命令",
        "{path} has no {name}: finish the run before its parts are joined": "{path} 没有 {name}：请先完成运行，再合并分片",
        "{path}/parts has {number} of {number_of_videos} rows; start the run again": (
            "{path}/parts 只有 {number_of_videos} 行中的 {number} 行；请重新启动运行"
        ),
        "--sbatch goes with --cluster slurm": "--sbatch 与 --cluster slurm 一起使用",
        "--share goes with another --cluster: the array has shares of its own": (
            "--share 须与其他 --cluster 一起使用：作业数组自己划分"
        ),
        "expected gigabytes above 0, found {value}": "应为大于 0 的 GB 数，实际为 {value}",
        "cannot {verb} {url}/{name}: {cause}": "无法 {verb} {url}/{name}：{cause}",
        "--labels: only --task classes has a class to compare with": "--labels：只有 --task classes 有可比较的类别",
        "{labels} is not the list that was classified: video {number} is {path}": (
            "{labels} 不是当时分类的列表：视频 {number} 是 {path}"
        ),
        "--keep={value}: write topk:N, all:float16 or all:float32": (
            "--keep={value}：请写 topk:N、all:float16 或 all:float32"
        ),
        "{path} has the four columns `path video_index clip crop`; write one `path` line a video": (
            "{path} 是四列格式 `path video_index clip crop`；请改为每段视频一行 `路径`"
        ),
        "{path} is no Parquet file: {cause}": "{path} 不是 Parquet 文件：{cause}",
        "{path} has no column path; it has {names}": "{path} 没有 path 列；现有的列：{names}",
        "{path}: the column path holds {kind}; it must hold strings": "{path}：path 列的类型为 {kind}；应为字符串",
        "{path} holds parts, but {name} is missing or broken; choose another --output": (
            "{path} 中已有分片，但 {name} 缺失或损坏；请换一个 --output"
        ),
        "{path} holds a run with another {name} ({first} there, {second} now); choose another --output": (
            "{path} 中的运行的 {name} 不同（原为 {first}，现为 {second}）；请换一个 --output"
        ),
        "a worker computes with {first}, other parts were computed with {second}; pass --backend": (
            "一个工作进程使用 {first}，而其他分片用 {second} 计算；请给出 --backend"
        ),
        "{path}: process {number} on {host} is working on it; wait for its end, or choose another --output": (
            "{path}：主机 {host} 上的进程 {number} 正在处理；请等待其结束，或换一个 --output"
        ),
        "{number_of_errors} of the first {number_of_videos} videos could not be scored; the column error of {path}/parts "
        "says why (--max_error_ratio {number})": (
            "前 {number_of_videos} 段视频中有 {number_of_errors} 段无法打分；原因见 {path} 的 error 列（--max_error_ratio {number}）"
        ),
        "{number} videos could not be scored: {kinds}": "{number} 段视频无法打分：{kinds}",
        "the workers do not start ({status}); see {path}": "工作进程无法启动（{status}）；见 {path}",
        "{path}/{name} has gone; start the run again": "{path}/{name} 已不存在；请重新启动运行",
        "{path} does not hold the videos {number_first} to {number_last}; delete it": (
            "{path} 中不是视频 {number_first} 到 {number_last}；请删除该文件"
        ),
        "cannot read the weights {path}: {cause}": "无法读取权重 {path}：{cause}",
        'this tool needs {name}: pip install ".[cluster]"': '此工具需要 {name}：pip install ".[cluster]"',
    }
)

# tools/fuse_scores.py, eval.py and predict.py --two_stream
HELP.update(
    {
        "the weights of an RGB and of a flow network, each beside its config.yaml: both and their fusion are evaluated; "
        "in place of --weights and --config": (
            "RGB 网络与光流网络的权重，各自的 config.yaml 须在同一目录：评估两个网络及其融合；代替 --weights 与 --config"
        ),
        "the weights of an RGB and of a flow network, each beside its config.yaml, whose scores are fused; in place of "
        "--weights and --config": (
            "RGB 网络与光流网络的权重，各自的 config.yaml 须在同一目录，得分相融合；代替 --weights 与 --config"
        ),
    }
)
ERRORS.update(
    {
        "--two_stream names both networks; leave --weights and --config out": (
            "--two_stream 已给出两个网络；请去掉 --weights 与 --config"
        ),
        "--two_stream names both networks and predicts classes; leave the flags of others out": (
            "--two_stream 已给出两个网络并预测类别；请去掉其他任务的参数"
        ),
        "--two_stream {weights}: no such file": "--two_stream {weights}：没有该文件",
        "--two_stream {weights}: no config.yaml of its training beside it": (
            "--two_stream {weights}：同一目录中没有训练时的 config.yaml"
        ),
        "--two_stream RGB FLOW: {path} is of modality {found}, not {modality}": (
            "--two_stream RGB FLOW：{path} 的输入类型为 {found}，应为 {modality}"
        ),
        "--two_stream RGB FLOW: the two networks are of other classes": "--two_stream RGB FLOW：两个网络的类别不同",
        "--two_stream: TEST.filelist is {rgb} for rgb, {flow} for flow; pass --filelist": (
            "--two_stream：TEST.filelist 在 rgb 中为 {rgb}，在 flow 中为 {flow}；请给出 --filelist"
        ),
        "weights {numbers}: pass {number_of_runs} numbers of 0 or more, one for each run, not all 0": (
            "权重 {numbers}：请给出 {number_of_runs} 个不小于 0 的数，每个运行一个，且不全为 0"
        ),
        "{name} holds no labels (an older version wrote it): pass --filelist": (
            "{name} 中没有标签（由旧版本写出）：请给出 --filelist"
        ),
        "{name}: {path} has another label than in the runs before it": "{name}：{path} 的标签与前面的运行不同",
        "{path} was scored, but is not in the list": "{path} 有得分，但不在列表中",
        "{run}: two videos are called {name}; runs are joined by these names": (
            "{run}：有两段视频同名 {name}；各运行按此名称对应"
        ),
        "{first} and {second} are of other videos: {path} is in the first only": (
            "{first} 与 {second} 的视频不同：{path} 只在前者中"
        ),
        "{first} is of {kind_0}, {name} of {kind_1}": "{first} 为 {kind_0}，{name} 为 {kind_1}",
        "class {index} is {name_0} in {first}, {name_1} in {name}": (
            "类别 {index} 在 {first} 中为 {name_0}，在 {name} 中为 {name_1}"
        ),
        "{flag}: pass two files or more, each once": "{flag}：请给出两个或更多文件，每个一次",
        "--tune_on: pass {number_of_runs} files, the same runs as --scores in the same order": (
            "--tune_on：请给出 {number_of_runs} 个文件，与 --scores 为相同的运行且顺序相同"
        ),
        "--tune_on: weights are found for videos of one class each; pass --weights": (
            "--tune_on：只能为每段视频一个类别的数据寻找权重；请给出 --weights"
        ),
        "--tune_on: {path} is one of the videos of --scores; weights are found on other videos": (
            "--tune_on：{path} 是 --scores 中的视频；权重须在其他视频上寻找"
        ),
        "--tune_on: the files are of other classes than those of --scores": (
            "--tune_on：这些文件的类别与 --scores 的不同"
        ),
        "--tune_on: no video has a score in all files": "--tune_on：没有在所有文件中都有得分的视频",
        "--fuse_calibrated goes with --tune_on, on whose videos temperatures are found": (
            "--fuse_calibrated 须与 --tune_on 一起使用：温度在其视频上寻找"
        ),
        "--of {of} is for videos of one class each; choose --of probabilities": (
            "--of {of} 只用于每段视频一个类别的数据；请选择 --of probabilities"
        ),
        "--of logits: not every file holds logits; evaluate again, or choose --of probabilities": (
            "--of logits：并非每个文件都有 logits；请重新评估，或选择 --of probabilities"
        ),
    }
)

# tools/report.py
TOOLS.update(
    {
        "A report on evaluations as one HTML file: python tools/report.py RUN [RUN ...] --out report.html": (
            "把评估结果写成一个 HTML 报告：python tools/report.py RUN [RUN ...] --out report.html"
        ),
        "A RUN is a folder of eval.py or of tools/fuse_scores.py. The first one is reported on: accuracy with intervals, "
        "calibration, risk against coverage, classes, its worst mistakes with pictures; the others, on the same videos, are "
        "compared and fused with it. The page opens offline and loads nothing; a .json beside it has every number.": (
            "RUN 是 eval.py 或 tools/fuse_scores.py 的输出目录。报告针对第一个 RUN：准确率及其区间、校准、风险与覆盖率、各类别、\n"
            "最严重的错误（附画面）；其余 RUN 须为同样的视频，与第一个对比并融合。页面可离线打开，不加载任何外部内容；全部数值写在\n"
            "同名的 .json 中。"
        ),
        "folders of eval.py or of tools/fuse_scores.py": "eval.py 或 tools/fuse_scores.py 的输出目录",
        "the page; its numbers are written beside it, as .json": "页面文件；数值写入同名的 .json",
        "the list of the videos, for runs of older versions, which hold no labels": "视频列表，用于没有标签的旧版本结果",
        "compare the videos that all runs have": "只对比各 RUN 共有的视频",
        "file of `path group`, or regular expression of the group in a path: videos of one source": (
            "每行为“路径 组”的文件，或在路径中匹配组名的正则表达式：来自同一来源的视频"
        ),
        "on which thresholds and weights are judged (default: %(default)s)": "评判阈值与权重所用的折数（默认：%(default)s）",
        "of resampling and folds (default: %(default)s)": "重抽样与分折的随机种子（默认：%(default)s）",
        "number of worst mistakes (default: %(default)s)": "最严重错误的数量（默认：%(default)s）",
        "language of the page (default: %(default)s)": "页面的语言（默认：%(default)s）",
        "link the videos' files": "为视频文件加上链接",
        "write the first run's temperature, for predict.py --temperature": "写出第一个 RUN 的温度，供 predict.py --temperature 使用",
    }
)
ERRORS.update(
    {
        "--out={path}: name the page, such as report.html; the numbers are the .json beside it": (
            "--out={path}：请给出页面文件名，例如 report.html；数值写在同名的 .json 中"
        ),
        "--write_temperature: {run} has too few videos, or videos of several classes": (
            "--write_temperature：{run} 的视频太少，或每段视频有多个类别"
        ),
        "--folds must be 2 or more, --seed and --mistakes 0 or more": "--folds 须不小于 2，--seed 与 --mistakes 须不小于 0",
        "pass each run once": "每个 RUN 只能给出一次",
        "the runs are of other lists: {path} is not in {run}; --common compares the {number} videos that all runs have": (
            "各 RUN 的列表不同：{path} 不在 {run} 中；--common 只对比共有的 {number} 段视频"
        ),
        "cannot read {path}: {cause}; a run is a folder of eval.py": "无法读取 {path}：{cause}；RUN 应为 eval.py 的输出目录",
        "{path} is damaged; evaluate again": "{path} 已损坏；请重新评估",
        "{path}: the scores of a video do not add up to 1; are they logits?": "{path}：视频的各类得分之和不为 1；是否为 logits？",
    }
)

# data/dataset: boxes
TOOLS.update(
    {
        "Boxes and lists for AVA 2.1 and 2.2: the published csv files, checked, without the excluded frames.": (
            "生成 AVA 2.1 与 2.2 的框与列表：官方发布的 csv 文件，经过检查，去掉排除的帧。"
        ),
        "Boxes and lists for JHMDB, from the annotations that the authors of ACT published.": (
            "用 ACT 作者发布的标注生成 JHMDB 的框与列表。"
        ),
        "Boxes and lists for UCF101-24, from the annotations that the authors of ACT published.": (
            "用 ACT 作者发布的标注生成 UCF101-24 的框与列表。"
        ),
        "folder with the csv files as published": "官方 csv 文件所在目录",
        "of AVA (default: %(default)s)": "AVA 的版本（默认：%(default)s）",
        "folder with the videos; without it no lists of videos are written": "视频目录；不给出时不写视频列表",
        "the published annotations": "发布的标注文件",
        "(default: %(default)s)": "（默认：%(default)s）",
    }
)
ERRORS.update(
    {
        "{path} has no split {number}": "{path} 中没有划分 {number}",
        "{path}: not a pickle of annotated tubes; it needs {names}": "{path}：不是标注管的 pickle 文件；应包含 {names}",
        "a list cannot hold the name of the video {name}: it has spaces": "列表中不能写视频名 {name}：其中有空格",
    }
)

# tools/evaluate_detections.py
TOOLS.update(
    {
        "Judge detected actions against annotated ones: frame-mAP by AVA's or ACT's rules, video-mAP, recall of the boxes.": (
            "把检测到的动作与标注比较：按 AVA 或 ACT 的规则计算 frame-mAP、video-mAP，以及检测框的召回率。"
        ),
        "The files may be any program's: csv in AVA's form, or with pixels and numbered frames (docs/detection.md).": (
            "文件可以来自任何程序：AVA 格式的 csv，或以像素和帧号书写（见 docs/zh/detection.md）。"
        ),
        "csv of annotated boxes": "标注框的 csv 文件",
        "csv of detected boxes with scores": "检测框及其得分的 csv 文件",
        "pbtxt of the classes that are judged": "参与评估的类别的 pbtxt 文件",
        "csv of frames that are not judged, `video,second` a row": "不参与评估的帧的 csv 文件，每行 `video,second`",
        "ava: as AVA's program; act: as ACT's and MOC's for JHMDB and UCF101-24, with video-mAP": (
            "ava：与 AVA 的程序相同；act：与 ACT、MOC 评估 JHMDB 和 UCF101-24 的方式相同，并计算 video-mAP"
        ),
        "highest-scored rows of a frame that are judged, with ava; 0: all (default: {number})": (
            "ava 时每帧参与评估的得分最高的行数；0：全部（默认：{number}）"
        ),
        "file for the result": "写入结果的文件",
    }
)
ERRORS.update(
    {
        "--max_per_frame is a number of 0 or more, with --protocol ava": (
            "--max_per_frame 是不小于 0 的数，且只用于 --protocol ava"
        ),
        "expected 2, 7 or 8 columns: video,second,x1,y1,x2,y2,action,person or score": (
            "应有 2、7 或 8 列：video,second,x1,y1,x2,y2,action,人的编号或得分"
        ),
        "expected 2 columns: video,second": "应有 2 列：video,second",
        "a field is not a number": "有字段不是数字",
        "an action, person or #frame is not a whole number": "动作、人的编号或 #帧号 不是整数",
        "there is no action (a number from 1)": "没有动作（从 1 开始的编号）",
        "there is no name of a video": "没有视频名称",
        "the second or #frame is not a number of 0 or more": "秒数或 #帧号 不是不小于 0 的数",
        "seconds and #frames are mixed": "秒数与 #帧号 混用",
        "a coordinate is not finite": "坐标不是有限数",
        "a coordinate or score is not finite": "坐标或得分不是有限数",
        "the box is inverted or empty": "框颠倒或为空",
        "the box leaves the picture (0 .. 1) by more than 0.01": "框超出画面（0 .. 1）0.01 以上",
        "{path}: none of the rows can be used; line {number}: {cause}": "{path}：没有可用的行；第 {number} 行：{cause}",
        "{path} holds no box": "{path} 中没有框",
        '{path}:{number}: expected entries like `item {{ name: "sit" id: 11 }}`': (
            '{path}:{number}：应为 `item {{ name: "sit" id: 11 }}` 这样的条目'
        ),
        "{path}:{number}: expected `# boxes: relative` or `# boxes: pixels`, before all rows": (
            "{path}:{number}：应为 `# boxes: relative` 或 `# boxes: pixels`，并且在所有行之前"
        ),
        "{path}: the boxes look like pixels; if they are, make `# boxes: pixels` the first line": (
            "{path}：坐标看来是像素；若确实如此，请以 `# boxes: pixels` 作为第一行"
        ),
        "{path}: the boxes look like fractions, but the first line says `# boxes: pixels`": (
            "{path}：坐标看来是比例，但第一行写的是 `# boxes: pixels`"
        ),
        "{truth} has boxes in {unit_0} units, {detections} in {unit_1} units": (
            "{truth} 中框的单位为 {unit_0}，{detections} 中为 {unit_1}"
        ),
        "{path}: the act protocol needs boxes in pixels (first line `# boxes: pixels`)": (
            "{path}：act 规则需要以像素为单位的框（第一行 `# boxes: pixels`）"
        ),
        "{path}: no row is of a class of the label map and a frame that is judged": (
            "{path}：没有任何一行属于标签表中的类别和参与评估的帧"
        ),
    }
)

# serve.py
HELP.update(
    {
        "Serve the network to browsers and programs: upload a video, watch what is found in it, fetch the results.": (
            "向浏览器和程序提供网络：上传视频，查看识别过程，取回结果。"
        ),
        "file of weights (default: the one in INFER.checkpoint_dir, else the published one; with no --config either, the "
        "network of `run.sh demo`, else the example network)": (
            "权重文件（默认：INFER.checkpoint_dir 中的，否则为公开的；也没有 --config 时为 `run.sh demo` 的网络，否则为示例网络）"
        ),
        "offer the videos of this folder": "提供该文件夹中的视频",
        "address to listen on; others than this machine need --token (%(default)s)": (
            "监听地址；本机以外的地址需要 --token（%(default)s）"
        ),
        "the next free one from here; 0: any (%(default)s)": "端口，被占用时取其后的空闲端口；0：任意（%(default)s）",
        "open the page in a browser": "在浏览器中打开页面",
        "ask every client for this token; without a value, make one": "要求每个客户端给出该令牌；不给值时生成一个",
        "a name the server is reached by; repeatable": "访问服务器所用的主机名；可重复",
        "pages of this origin may use it; repeatable": "允许该来源的网页使用；可重复",
        "of a video (default: 2.147)": "每段视频的大小（默认：2.147）",
        "of a video (default: %(default)g)": "每段视频的时长（默认：%(default)g）",
        "that may wait (default: %(default)s)": "可以等待的任务数（默认：%(default)s）",
        "worked on in turns, with a reading process each (default: %(default)s)": (
            "轮流处理的任务数，每个有一个读取进程（默认：%(default)s）"
        ),
        "for uploads and results (default: 10.737)": "用于上传文件和结果的空间（默认：10.737）",
        "uploads and results (default: %(default)g)": "上传文件和结果的保留时间（默认：%(default)g）",
        "of jobs that name none, as predict.py's": "未指定时任务采用的视图，同 predict.py",
        "from one sliding window to the next": "滑动窗口的步长，秒",
    }
)
ERRORS.update(
    {
        "--host={host} makes the server reachable from the network without a token; add --token": (
            "--host={host} 会让网络上的人无需令牌即可访问服务器；请加上 --token"
        ),
        "--folder={folder}: no such folder": "--folder={folder}：没有该文件夹",
        "--port={port}: write a number from 0 to 65535": "--port={port}：请写 0 到 65535 之间的数",
        "--host={host} --port={port}: cannot listen there ({error})": "--host={host} --port={port}：无法监听（{error}）",
        "the video lasts {minutes} minutes, the server takes {number} (--max_minutes)": (
            "视频长 {minutes} 分钟，服务器只接受 {number} 分钟以内（--max_minutes）"
        ),
        "--stride_seconds goes with segments, and --two_stream finds classes; leave it out": (
            "--stride_seconds 用于片段，而 --two_stream 只识别类别；请去掉"
        ),
        'serve.py needs {names}: pip install ".[serve]"': 'serve.py 需要 {names}：pip install ".[serve]"',
        # lines of the server, which its page shows
        "this server does not go by that name; start it with --allow_host=NAME": (
            "本服务器不使用该名称；请以 --allow_host=NAME 启动"
        ),
        "a page of another site may not use this server": "其他网站的网页不能使用本服务器",
        "a page of another origin may not use this server; programs send no Origin": (
            "其他来源的网页不能使用本服务器；程序请勿发送 Origin"
        ),
        "a token is needed: Authorization: Bearer TOKEN": "需要令牌：Authorization: Bearer TOKEN",
        "{size} bytes are too many, the limit is {limit} (--max_upload)": (
            "{size} 字节过大，上限为 {limit}（--max_upload）"
        ),
        "no byte came for {number} s": "{number} 秒内没有收到数据",
        "the body is larger than {number} bytes": "请求内容超过 {number} 字节",
        "less than {number} bytes came a second": "传输速度低于每秒 {number} 字节",
        "{number} videos are waiting, no more are taken; try again later": (
            "已有 {number} 个视频在排队，不再接受；请稍后再试"
        ),
        "given up: it waited, and nobody asked for it; other videos came": "已放弃：排队期间无人查看，让位给了其他视频",
        "no such job; it may have been deleted after its time": "没有这个任务；可能已到期删除",
        "the server made a mistake with this video; its log has the reason": "服务器处理该视频时出错；原因见服务器日志",
        "the server's disk is full; try again later": "服务器磁盘已满；请稍后再试",
        "the server has no room for {number} bytes more (--disk); try again later": (
            "服务器没有再存 {number} 字节的空间（--disk）；请稍后再试"
        ),
        "the server cannot write; its disk may be full": "服务器无法写入；磁盘可能已满",
        "the server cannot write or compute this": "服务器无法写入或计算",
        "a mistake of the server; its log names it": "服务器出错；原因见服务器日志",
        "the server stops": "服务器正在停止",
        "the process of the network has ended and is started again": "计算网络的进程已结束，正在重新启动",
        "{cause}, twice with this video; is there memory enough?": "{cause}，处理该视频时连续两次；内存是否足够？",
        "the process of the network ended ({how})": "计算网络的进程已结束（{how}）",
        "{cause} while it started; is there memory enough?": "{cause}（启动过程中）；内存是否足够？",
        "out of memory; choose a smaller INFER.batch_size": "内存不足；请减小 INFER.batch_size",
        "the server ends": "服务器正在结束",
        "the client has gone": "客户端已断开",
        "this is no whole request of HTTP/1.1": "不是完整的 HTTP/1.1 请求",
        "no whole request came within {number} s": "{number} 秒内没有收到完整的请求",
        "{method} takes no body here": "此处的 {method} 不接受请求体",
        "Content-Type must be one of {types}": "Content-Type 须为以下之一：{types}",
        "{size} bytes are too many, the limit is {limit}{flag}": "{size} 字节过大，上限为 {limit}{flag}",
        "the file is larger than {number} bytes": "文件超过 {number} 字节",
        "this file has just been deleted": "该文件刚被删除",
        "this upload has been deleted": "该上传已被删除",
        "this video has just been deleted": "该视频刚被删除",
        "the header Range cannot be read; write bytes=FIRST-LAST": "无法解读请求头 Range；请写 bytes=FIRST-LAST",
        "the file has no such bytes; Content-Range says how many it has": "文件没有这些字节；Content-Range 给出其大小",
        "no such address; /api/v1/openapi.json lists them": "没有该地址；所有地址见 /api/v1/openapi.json",
        "stage: goes with the task features": "stage：只用于任务 features",
        "stage: one of {names}": "stage：须为以下之一：{names}",
        "stride_seconds: goes with sliding windows, as of the task segments": (
            "stride_seconds：只用于滑动窗口，如任务 segments"
        ),
        "views: adaptive views go with the task classes": "views：自适应视图只用于任务 classes",
        "the job is {state}; wait until it is done": "任务状态为 {state}；请等到它完成",
        "not done after {number} s; make a job instead": "{number} 秒后仍未完成；请改为建立任务",
        "no such video; upload it, or choose one of the folder": "没有这个视频；请上传，或从文件夹中选择",
        "no such upload; it may have been given up, or is complete": "没有这个上传；可能已被放弃，或已完成",
        "the upload is at {number} bytes": "该上传已到 {number} 字节",
        "a job needs this video; delete the job": "有任务正在使用该视频；请先删除任务",
        "this job has no {name}": "该任务没有 {name}",
        "task: a server of two streams finds classes alone; ask for the task classes": (
            "task：双流服务器只识别类别；请使用任务 classes"
        ),
        "this job is of another network or configuration than the server has now; make a new one": (
            "该任务属于另一个网络或配置，不是服务器现在所用的；请新建任务"
        ),
        "views: a window is one clip; 1x3, 1x1 or whole instead of {views}": (
            "views：一个窗口就是一个片段；请用 1x3、1x1 或 whole 代替 {views}"
        ),
        "this network has no non-local block: it has no space-time links to show": (
            "该网络没有 non-local 模块，没有可显示的时空联系"
        ),
        "the network does not see this point: its crop is x {left} to {right}, y {top} to {bottom} of the frame": (
            "网络看不到这一点：它的裁剪为画面的 x {left} 至 {right}、y {top} 至 {bottom}"
        ),
        "{cause}; the segments end there": "{cause}；片段到此为止",
        "damaged: {number} frames lie in damaged parts{cause}": "文件损坏：{number} 帧位于损坏部分{cause}",
        ", {number} of them lost (the frame before stands in)": "，其中 {number} 帧丢失（以前一帧代替）",
        "damaged or cut off: {number} frames of {total} packets decode": (
            "文件损坏或被截断：{total} 个数据包中能解码出 {number} 帧"
        ),
        "damaged or cut off: packets that are not whole": "文件损坏或被截断：有不完整的数据包",
        "{number} packets are damaged": "{number} 个数据包已损坏",
    }
)

MESSAGES = {**ARGPARSE, **HELP, **TOOLS, **ERRORS, **SYSTEM, **KEYS}
