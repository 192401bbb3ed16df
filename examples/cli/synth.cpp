// The command synth: a GGUF file of a known shape with random weights, for measuring speed without downloads. Written as
// a stream, in parallel, and the same for every number of threads.
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "commands.hpp"
#include "common.hpp"
#include "formats.hpp"
#include "inlay/config/known_models.hpp"
#include "inlay/core/text_buffer.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/files/gguf_writer.hpp"
#include "inlay/formats/blocks.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/weights/config_keys.hpp"
#include "inlay/weights/tensor_roles.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::ModelConfig;
using inlay::Result;
using inlay::TensorId;
using inlay::TensorRole;
using inlay::WeightType;

namespace {

// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): every row of every tensor has
// a sequence of its own, so rows can be made in any order.
class RowRandom {
 public:
  RowRandom(std::uint64_t seed, std::uint64_t tensor, std::uint64_t row)
      : state_(Mix(Mix(Mix(seed) ^ tensor) ^ row)) {}

  std::uint64_t Next() { return Mix(state_ += kGamma); }
  // -1 .. 1
  float Signed() { return static_cast<float>(static_cast<std::int64_t>(Next()) >> 40) * 0x1p-23f; }

  template <class T>
  void FillBits(T& bytes) {
    std::byte* at = reinterpret_cast<std::byte*>(&bytes);
    for (std::size_t left = sizeof(T); left != 0;) {
      const std::uint64_t bits = Next();
      const std::size_t count = std::min(left, sizeof(bits));
      std::memcpy(at, &bits, count);
      at += count;
      left -= count;
    }
  }

 private:
  static constexpr std::uint64_t kGamma = 0x9E3779B97F4A7C15u;
  static std::uint64_t Mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

// Standard deviation of an integer that is uniform among `levels` values, and of the 6-bit scales drawn below.
float UniformDeviation(int levels) { return std::sqrt(static_cast<float>(levels * levels - 1) / 12.0f); }
constexpr float kScaleMagnitude = 48.4f;  // root mean square of 32 .. 63

std::uint8_t RandomScale(RowRandom& random) { return static_cast<std::uint8_t>(32 + (random.Next() & 31)); }
float RandomSign(RowRandom& random) { return (random.Next() & 1) != 0 ? 1.0f : -1.0f; }

// One block of random levels whose values have mean 0 and the given standard deviation. Quantised types are made directly:
// encoding random floats would take minutes for a large model and give nothing else.
void MakeBlock(RowRandom& random, float deviation, float& out) { out = deviation * std::sqrt(3.0f) * random.Signed(); }
void MakeBlock(RowRandom& random, float deviation, inlay::BlockQ8_0& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(deviation / UniformDeviation(255));
  for (std::int8_t& level : out.qs) level = std::max<std::int8_t>(level, -127);
}
// Levels around an offset of half their number are -1/2 on average: a random sign per block makes it 0.
void MakeBlock(RowRandom& random, float deviation, inlay::BlockQ4_0& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(RandomSign(random) * deviation / UniformDeviation(16));
}
void MakeBlock(RowRandom& random, float deviation, inlay::BlockQ5_0& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(RandomSign(random) * deviation / UniformDeviation(32));
}
void MakeBlock(RowRandom& random, float deviation, inlay::BlockQ4_1& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(deviation / UniformDeviation(16));
  out.m = inlay::F32ToF16(-7.5f * inlay::F16ToF32(out.d));
}
void MakeBlock(RowRandom& random, float deviation, inlay::BlockQ5_1& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(deviation / UniformDeviation(32));
  out.m = inlay::F32ToF16(-15.5f * inlay::F16ToF32(out.d));
}
template <class Block>
void MakeGroupedBlock(RowRandom& random, float deviation, int levels, Block& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(deviation / (UniformDeviation(levels) * kScaleMagnitude));
  out.dmin = inlay::F32ToF16(0.5f * static_cast<float>(levels - 1) * inlay::F16ToF32(out.d));
  inlay::GroupScales groups{};
  for (int i = 0; i < 8; ++i) groups.scale[i] = groups.min[i] = RandomScale(random);
  inlay::PackGroupScales(groups, out.scales);
}
void MakeBlock(RowRandom& random, float deviation, inlay::BlockQ4_K& out) { MakeGroupedBlock(random, deviation, 16, out); }
void MakeBlock(RowRandom& random, float deviation, inlay::BlockQ5_K& out) { MakeGroupedBlock(random, deviation, 32, out); }
void MakeBlock(RowRandom& random, float deviation, inlay::BlockQ6_K& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(deviation / (UniformDeviation(64) * kScaleMagnitude));
  for (std::int8_t& scale : out.scales) {
    scale = static_cast<std::int8_t>(RandomSign(random) * static_cast<float>(RandomScale(random)));
  }
}

// Root mean squares of the tables' levels.
constexpr float kIq4Magnitude = 67.4f;
constexpr float kMxfp4Magnitude = 5.85f;
void MakeBlock(RowRandom& random, float deviation, inlay::BlockIQ4_NL& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(RandomSign(random) * deviation / kIq4Magnitude);
}
// Scales are powers of two: at random the one below or above, so that the deviation is met on average.
void MakeBlock(RowRandom& random, float deviation, inlay::BlockMXFP4& out) {
  random.FillBits(out);
  const float exponent = std::log2(deviation / kMxfp4Magnitude);
  const float below = std::floor(exponent);
  const float upper = (std::exp2(2.0f * (exponent - below)) - 1.0f) / 3.0f;
  out.e = static_cast<std::uint8_t>(128 + static_cast<int>(below) + (0.5f * (random.Signed() + 1.0f) < upper ? 1 : 0));
}
// Sub-scales of 8 .. 15, with which mins of the same number put the middle of the levels at 0.
void MakeBlock(RowRandom& random, float deviation, inlay::BlockQ2_K& out) {
  random.FillBits(out);
  constexpr float kMagnitude = 11.7f;
  out.d = inlay::F32ToF16(deviation / (UniformDeviation(4) * kMagnitude));
  out.dmin = inlay::F32ToF16(1.5f * inlay::F16ToF32(out.d));
  for (std::uint8_t& scale : out.scales) scale = static_cast<std::uint8_t>((8 + (random.Next() & 7)) * 17);
}
// A sub-scale of 16 .. 31 with a random sign, plus 32.
int RandomSignedScale(RowRandom& random) {
  const int magnitude = static_cast<int>(16 + (random.Next() & 15));
  return 32 + ((random.Next() & 1) != 0 ? magnitude : -magnitude);
}
constexpr float kSignedScaleMagnitude = 23.9f;
void MakeBlock(RowRandom& random, float deviation, inlay::BlockQ3_K& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(deviation / (UniformDeviation(8) * kSignedScaleMagnitude));
  std::fill(std::begin(out.scales), std::end(out.scales), std::uint8_t{0});
  for (int g = 0; g < 16; ++g) inlay::Codec<WeightType::kQ3_K>::PutScale(out, g, RandomSignedScale(random));
}
void MakeBlock(RowRandom& random, float deviation, inlay::BlockIQ4_XS& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(deviation / (kIq4Magnitude * kSignedScaleMagnitude));
  out.scales_h = 0;
  std::fill(std::begin(out.scales_l), std::end(out.scales_l), std::uint8_t{0});
  for (int g = 0; g < 8; ++g) inlay::Codec<WeightType::kIQ4_XS>::PutScale(out, g, RandomSignedScale(random));
}
void MakeBlock(RowRandom& random, float deviation, inlay::BlockTQ1_0& out) {
  random.FillBits(out);
  out.d = inlay::F32ToF16(deviation / UniformDeviation(3));
}
// Level 3 becomes 1, so that half of the values are 0.
void MakeBlock(RowRandom& random, float deviation, inlay::BlockTQ2_0& out) {
  random.FillBits(out);
  for (std::uint8_t& levels : out.qs) levels = static_cast<std::uint8_t>(levels & ~(levels & levels << 1 & 0xAA));
  out.d = inlay::F32ToF16(deviation / std::sqrt(0.5f));
}

template <class Block>
void MakeRowOf(RowRandom& random, std::size_t blocks, float deviation, std::byte* out) {
  for (std::size_t i = 0; i < blocks; ++i) {
    Block block;
    MakeBlock(random, deviation, block);
    std::memcpy(out + i * sizeof(Block), &block, sizeof(Block));
  }
}

void MakeRow(RowRandom& random, WeightType type, std::size_t cols, float deviation, std::byte* out) {
  const std::size_t blocks = cols / inlay::Info(type).block_values;
  switch (type) {
    case WeightType::kF32: return MakeRowOf<float>(random, blocks, deviation, out);
    case WeightType::kQ8_0: return MakeRowOf<inlay::BlockQ8_0>(random, blocks, deviation, out);
    case WeightType::kQ4_0: return MakeRowOf<inlay::BlockQ4_0>(random, blocks, deviation, out);
    case WeightType::kQ4_1: return MakeRowOf<inlay::BlockQ4_1>(random, blocks, deviation, out);
    case WeightType::kQ5_0: return MakeRowOf<inlay::BlockQ5_0>(random, blocks, deviation, out);
    case WeightType::kQ5_1: return MakeRowOf<inlay::BlockQ5_1>(random, blocks, deviation, out);
    case WeightType::kIQ4_NL: return MakeRowOf<inlay::BlockIQ4_NL>(random, blocks, deviation, out);
    case WeightType::kMXFP4: return MakeRowOf<inlay::BlockMXFP4>(random, blocks, deviation, out);
    case WeightType::kQ2_K: return MakeRowOf<inlay::BlockQ2_K>(random, blocks, deviation, out);
    case WeightType::kQ3_K: return MakeRowOf<inlay::BlockQ3_K>(random, blocks, deviation, out);
    case WeightType::kQ4_K: return MakeRowOf<inlay::BlockQ4_K>(random, blocks, deviation, out);
    case WeightType::kQ5_K: return MakeRowOf<inlay::BlockQ5_K>(random, blocks, deviation, out);
    case WeightType::kQ6_K: return MakeRowOf<inlay::BlockQ6_K>(random, blocks, deviation, out);
    case WeightType::kIQ4_XS: return MakeRowOf<inlay::BlockIQ4_XS>(random, blocks, deviation, out);
    case WeightType::kTQ1_0: return MakeRowOf<inlay::BlockTQ1_0>(random, blocks, deviation, out);
    case WeightType::kTQ2_0: return MakeRowOf<inlay::BlockTQ2_0>(random, blocks, deviation, out);
    case WeightType::kF16:
    case WeightType::kBF16: {
      std::vector<float> values(cols);
      for (float& value : values) MakeBlock(random, deviation, value);
      return inlay::EncodeRow(type, values.data(), cols, out);
    }
    case WeightType::kI8: break;  // not a type for weights
  }
}

// --- shape ---

// Llama 3.1's factors: frequencies that turn less than once in the 8192 positions of the original training are divided
// by 8 (Llama 3.2: 32), those that turn more than four times stay, with a ramp between. Source: the models' config.json.
// Gemma 4: a quarter of the pairs turns, the others stand still.
std::vector<float> RopeFactors(const ModelConfig& config, std::string_view name) {
  const double most = name.starts_with("llama-3.2") ? 32.0 : 8.0;
  std::vector<float> factors(config.rope_dim / 2);
  if (config.architecture == inlay::Architecture::kGemma4) {
    std::fill(factors.begin() + static_cast<std::ptrdiff_t>(factors.size() / 4), factors.end(), 1e30f);
    std::fill_n(factors.begin(), factors.size() / 4, 1.0f);
    return factors;
  }
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / config.rope_dim;
    const double turns = 8192.0 / (2.0 * std::numbers::pi * std::pow(static_cast<double>(config.rope_base), exponent));
    const double ramp = std::clamp((turns - 1.0) / 3.0, 0.0, 1.0);
    factors[i] = static_cast<float>(1.0 / ((1.0 - ramp) / most + ramp));
  }
  return factors;
}

struct SynthTensor {
  TensorId id;
  WeightType type;
  inlay::TextBuffer<96> name;
};

Result<const inlay::KnownModel*> FindShape(const std::string& name) {
  for (const inlay::KnownModel& model : inlay::kKnownModels) {
    if (Lower(std::string(model.name)) == Lower(name)) return &model;
  }
  return Fail(ErrorCode::kInvalidArgument, "--like", "\"", name, "\" is not known; inlay synth --help lists all");
}

// A tensor's sequences are found by its name (FNV-1a), so that the file stays the same when models get new kinds of tensors.
std::uint64_t NumberOf(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

// Rows [begin, end) of a tensor, each [cols].
void MakeRows(const ModelConfig& config, const SynthTensor& tensor, std::string_view model, std::uint64_t seed,
              std::size_t begin, std::size_t end, std::byte* out) {
  const std::size_t cols = inlay::ShapeOf(config, tensor.id).cols;
  const std::size_t row_bytes = inlay::RowBytes(tensor.type, cols);
  if (tensor.id.role == TensorRole::kRopeFactors) {
    std::memcpy(out, RopeFactors(config, model).data(), row_bytes);
    return;
  }
  for (std::size_t row = begin; row < end; ++row, out += row_bytes) {
    RowRandom random(seed, NumberOf(tensor.name.view()), row);
    if (inlay::IsVector(tensor.id.role)) {
      // Gains of norms, around 1. What makes a state decay is below 0.
      float* gains = reinterpret_cast<float*>(out);
      const float sign = tensor.id.role == TensorRole::kStateDecay ? -1.0f : 1.0f;
      for (std::size_t i = 0; i < cols; ++i) gains[i] = sign * (1.0f + 0.25f * random.Signed());
    } else {
      // A product with a normalised input then has values around 1.
      MakeRow(random, tensor.type, cols, 1.0f / std::sqrt(static_cast<float>(cols)), out);
    }
  }
}

}  // namespace

Result<void> Synth(const SynthOptions& options) {
  INLAY_ASSIGN_OR_RETURN(const inlay::KnownModel* const model, FindShape(options.like));
  INLAY_ASSIGN_OR_RETURN(const Format format, FindFormat(options.format));
  const ModelConfig& config = *model->config;

  std::vector<SynthTensor> tensors;
  for (std::size_t i = 0; i < inlay::TensorCount(config); ++i) {
    const TensorId id = inlay::TensorAt(i);
    if (inlay::HasRole(config, id)) tensors.push_back({id, format.TypeOf(config, id), inlay::TensorName(config, id)});
  }
  std::vector<inlay::GgufTensorEntry> entries;
  std::size_t total = 0;
  for (const SynthTensor& tensor : tensors) {
    const inlay::TensorShape shape = inlay::ShapeOf(config, tensor.id);
    // Several vectors are rows of one tensor.
    const bool vector = inlay::IsVector(tensor.id.role);
    inlay::GgufTensorEntry entry =
        inlay::GgufTensorEntry::Matrix(tensor.name.view(), tensor.type, vector ? shape.count : shape.rows, shape.cols);
    if (!vector && shape.count > 1) {
      entry.n_dims = 3;
      entry.dims[2] = shape.count;
      entry.bytes *= shape.count;
    }
    entries.push_back(entry);
    total += static_cast<std::size_t>(entry.bytes);
  }

  inlay::ThreadPool threads(ThreadCount(options.threads));
  INLAY_ASSIGN_OR_RETURN(OutputFile output, OutputFile::Create(options.output));
  const auto sink = [&](std::span<const std::byte> bytes) { return output.Write(bytes); };
  INLAY_ASSIGN_OR_RETURN(inlay::GgufWriter writer,
                         inlay::GgufWriter::Begin(sink, inlay::ConfigMetadataCount(config) + 2, entries));
  INLAY_CHECK_OK(inlay::PutConfig(config, std::string(model->name) + " (random weights)", writer));
  INLAY_CHECK_OK(writer.Put("general.file_type", format.file_type));
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.model", "no_vocab"));
  INLAY_CHECK_OK(writer.EndMetadata());

  constexpr std::size_t kPieceBytes = std::size_t{32} << 20;
  std::vector<std::byte> piece;
  Progress progress("writing");
  std::size_t done = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const inlay::TensorShape shape = inlay::ShapeOf(config, tensors[i].id);
    const std::size_t rows = shape.rows * shape.count;
    const std::size_t row_bytes = inlay::RowBytes(tensors[i].type, shape.cols);
    const std::size_t rows_at_once = std::max<std::size_t>(1, kPieceBytes / row_bytes);
    for (std::size_t begin = 0; begin < rows; begin += rows_at_once) {
      const std::size_t end = std::min(rows, begin + rows_at_once);
      piece.resize((end - begin) * row_bytes);
      constexpr std::size_t kRowsPerTask = 64;
      threads.Run((end - begin + kRowsPerTask - 1) / kRowsPerTask, [&](std::size_t task) {
        const std::size_t from = begin + task * kRowsPerTask;
        MakeRows(config, tensors[i], model->name, options.seed, from, std::min(end, from + kRowsPerTask),
                 piece.data() + (from - begin) * row_bytes);
      });
      INLAY_CHECK_OK(writer.Append(piece));
      done += piece.size();
      if (!progress(done, total)) return Fail(ErrorCode::kCancelled, options.output, "interrupted");
    }
  }
  INLAY_CHECK_OK(writer.Finish());
  return output.Commit();
}

}  // namespace cli
