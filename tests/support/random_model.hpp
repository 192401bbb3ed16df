// Model files made of random numbers, in memory: any configuration, any weight type per tensor, with or without a small
// vocabulary. The same seed gives the same bytes on every machine, so results computed from them can be stored.
//
// Names, keys and shapes are spelled out here once more instead of being taken from the library: a wrong name there would
// otherwise be wrong here too.
#ifndef INLAY_TESTS_SUPPORT_RANDOM_MODEL_HPP_
#define INLAY_TESTS_SUPPORT_RANDOM_MODEL_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/files/gguf_writer.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/formats/weight_type.hpp"

namespace inlay_test {

// A test is written wrongly. Not an exception: the smoke test is compiled without.
[[noreturn]] inline void SetUpFailed(std::string_view why) {
  std::fprintf(stderr, "test set-up failed: %.*s\n", static_cast<int>(why.size()), why.data());
  std::abort();
}

// Memory that starts where the library wants it, so that a packed file can be opened where it was written.
template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}  // NOLINT: implicit by design
  T* allocate(std::size_t n) {
    return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{inlay::kAlignment}));
  }
  void deallocate(T* at, std::size_t) { ::operator delete(at, std::align_val_t{inlay::kAlignment}); }
  bool operator==(const AlignedAllocator&) const = default;
};
using AlignedBytes = std::vector<std::byte, AlignedAllocator<std::byte>>;

// SplitMix64 (Steele, Lea and Flood 2014), and numbers from it that do not depend on the standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t Bits() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  std::size_t Below(std::size_t n) { return static_cast<std::size_t>(Bits() % n); }
  // Uniform in [-1, 1).
  float Symmetric() { return static_cast<float>(static_cast<std::int64_t>(Bits() >> 40) - (1 << 23)) * 0x1p-23f; }

 private:
  std::uint64_t state_;
};

struct FileValue {
  std::string key;
  std::variant<std::uint32_t, std::int32_t, std::uint64_t, float, bool, std::string, std::vector<float>,
               std::vector<std::int32_t>, std::vector<std::uint8_t>, std::vector<std::string>>
      value;
};

struct FileTensor {
  std::string name;
  std::uint32_t type_id = 0;
  std::vector<std::uint64_t> dims;  // cols first, as in the file
  AlignedBytes data;

  inlay::WeightType type() const { return static_cast<inlay::WeightType>(type_id); }
};

// A file before it is written: tests change it at will.
struct FileContents {
  std::vector<FileValue> metadata;
  std::vector<FileTensor> tensors;

  FileTensor& tensor(std::string_view name) {
    for (FileTensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    SetUpFailed(name);
  }
  void Erase(std::string_view name) {
    std::erase_if(tensors, [&](const FileTensor& tensor) { return tensor.name == name; });
    std::erase_if(metadata, [&](const FileValue& value) { return value.key == name; });
  }
  template <class T>
  void Set(std::string_view key, T value) {
    for (FileValue& entry : metadata) {
      if (entry.key == key) {
        entry.value = std::move(value);
        return;
      }
    }
    metadata.push_back({std::string(key), std::move(value)});
  }
};

// Sets what the library's writer would put into a file.
template <class T>
void SetAsWritten(FileContents& contents, std::string_view key, T value) {
  if constexpr (std::is_convertible_v<T, std::string_view>) {
    contents.Set(key, std::string(value));
  } else if constexpr (std::is_same_v<T, std::span<const float>>) {
    contents.Set(key, std::vector<float>(value.begin(), value.end()));
  } else if constexpr (requires { value.begin(); }) {
    contents.Set(key, std::vector<std::int32_t>(value.begin(), value.end()));
  } else {
    contents.Set(key, value);
  }
}

inline AlignedBytes WriteGguf(const FileContents& contents, std::size_t alignment = 32) {
  const auto check = [](const inlay::Result<void>& result) {
    if (!result) SetUpFailed(result.error().Message().view());
  };
  AlignedBytes out;
  auto sink = [&](std::span<const std::byte> bytes) -> inlay::Result<void> {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return {};
  };
  std::vector<inlay::GgufTensorEntry> entries;
  for (const FileTensor& tensor : contents.tensors) {
    inlay::GgufTensorEntry entry;
    entry.name = tensor.name;
    entry.type_id = tensor.type_id;
    entry.n_dims = static_cast<std::uint32_t>(tensor.dims.size());
    for (std::size_t d = 0; d < tensor.dims.size(); ++d) entry.dims[d] = tensor.dims[d];
    entry.bytes = tensor.data.size();
    entries.push_back(entry);
  }
  auto writer = inlay::GgufWriter::Begin(sink, contents.metadata.size(), entries, alignment);
  if (!writer) SetUpFailed(writer.error().Message().view());
  for (const FileValue& entry : contents.metadata) {
    std::visit(
        [&]<class T>(const T& value) {
          if constexpr (std::is_arithmetic_v<T>) {
            check(writer->Put(entry.key, value));
          } else if constexpr (std::is_same_v<T, std::string>) {
            check(writer->Put(entry.key, std::string_view(value)));
          } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
            check(writer->PutStrings(entry.key, value.size(),
                                     [&](std::size_t i) { return std::string_view(value[i]); }));
          } else {
            check(writer->PutArray(entry.key, std::span(value)));
          }
        },
        entry.value);
  }
  check(writer->EndMetadata());
  for (const FileTensor& tensor : contents.tensors) check(writer->Append(tensor.data));
  check(writer->Finish());
  return out;
}

struct RandomModelOptions {
  inlay::ModelConfig config;
  // The type of each matrix, by the tensor's name.
  std::function<inlay::WeightType(std::string_view)> type = [](std::string_view) { return inlay::WeightType::kF32; };
  std::uint64_t seed = 1;
  // Spread of the logits: larger makes the greedy choice clearer.
  float output_gain = 3.0f;
  bool tokenizer = false;  // needs a vocabulary of 330 or more
};

inline std::function<inlay::WeightType(std::string_view)> AllOf(inlay::WeightType type) {
  return [type](std::string_view) { return type; };
}

// Each matrix in another of `types`, in turn.
inline std::function<inlay::WeightType(std::string_view)> MixOf(std::vector<inlay::WeightType> types) {
  return [types = std::move(types), next = std::size_t{0}](std::string_view) mutable {
    return types[next++ % types.size()];
  };
}

// A vocabulary for SentencePiece BPE: specials, 256 bytes, letters with and without a space, characters of two to four
// bytes, and words "w0", "w1", ... up to `count`. All longer pieces can be merged from shorter ones or spelled in bytes.
inline std::vector<std::string> TinyPieces(std::size_t count) {
  std::vector<std::string> pieces = {"<unk>", "<s>", "</s>"};
  const char* digits = "0123456789ABCDEF";
  for (int b = 0; b < 256; ++b) pieces.push_back(std::string("<0x") + digits[b / 16] + digits[b % 16] + ">");
  const std::string space = "\xE2\x96\x81";
  pieces.push_back(space);
  for (char c = 'a'; c <= 'z'; ++c) pieces.push_back(std::string(1, c));
  for (char c = 'a'; c <= 'z'; ++c) pieces.push_back(space + c);
  for (const char* character : {"\xC3\xA9", "\xC3\x9F", "\xE6\xB0\xB4", "\xF0\x9F\x99\x82", "\xF0\x9F\x8D\x8E"}) {
    pieces.push_back(character);
  }
  for (std::size_t i = 0; pieces.size() < count; ++i) pieces.push_back("w" + std::to_string(i));
  if (pieces.size() != count) SetUpFailed("the tiny vocabulary needs more tokens");
  return pieces;
}

inline void AddTinyVocabulary(FileContents& contents, std::size_t count) {
  std::vector<std::string> pieces = TinyPieces(count);
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  for (std::size_t i = 0; i < count; ++i) {
    scores.push_back(-static_cast<float>(i));
    types.push_back(i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
  }
  contents.Set("tokenizer.ggml.model", std::string("llama"));
  contents.Set("tokenizer.ggml.tokens", std::move(pieces));
  contents.Set("tokenizer.ggml.scores", std::move(scores));
  contents.Set("tokenizer.ggml.token_type", std::move(types));
  contents.Set("tokenizer.ggml.bos_token_id", std::uint32_t{1});
  contents.Set("tokenizer.ggml.eos_token_id", std::uint32_t{2});
}

namespace detail {

inline bool IsOneOf(inlay::Architecture architecture, std::initializer_list<inlay::Architecture> list) {
  return std::find(list.begin(), list.end(), architecture) != list.end();
}

// How a family's files store what others store apart.
inline bool FusesQueryKeyValue(inlay::Architecture a) {
  using enum inlay::Architecture;
  return IsOneOf(a, {kPhi3, kGpt2, kGptNeoX, kNomicBert, kNomicBertMoe, kModernBert});
}
inline bool FusesGateUp(inlay::Architecture a) {
  return IsOneOf(a, {inlay::Architecture::kPhi3, inlay::Architecture::kModernBert});
}

inline void AddKeys(const inlay::ModelConfig& c, FileContents& contents) {
  const std::string architecture(inlay::Name(c.architecture));
  const auto set = [&](const char* name, auto value) { contents.Set(architecture + "." + name, value); };
  contents.Set("general.architecture", architecture);
  set("embedding_length", c.dim);
  set("block_count", c.layers);
  set("attention.head_count", c.heads);
  set("attention.head_count_kv", c.kv_heads);
  set("attention.key_length", c.head_dim);
  set("attention.value_length", c.value_dim == 0 ? c.head_dim : c.value_dim);
  set("feed_forward_length", c.ffn_dim);
  set("context_length", c.context);
  set("rope.dimension_count", c.rope_dim);
  set("rope.freq_base", c.rope_base);
  set(c.norm.kind == inlay::NormKind::kRms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
      c.norm_epsilon);
  const auto scaling = [&](const char* type) {
    set("rope.scaling.type", std::string(type));
    set("rope.scaling.factor", c.rope_scale);
  };
  if (c.rope_scaling == inlay::RopeScaling::kLinear) scaling("linear");
  if (c.rope_scaling == inlay::RopeScaling::kYarn) {
    scaling("yarn");
    set("rope.scaling.original_context_length", c.rope.original_context);
    set("rope.scaling.yarn_beta_fast", c.rope.beta_fast);
    set("rope.scaling.yarn_beta_slow", c.rope.beta_slow);
    set("rope.scaling.yarn_log_multiplier", c.rope.log_multiplier);
  }
  if (c.rope_scaling == inlay::RopeScaling::kLongRope) {
    set("rope.scaling.type", std::string("longrope"));
    set("rope.scaling.original_context_length", c.rope.original_context);
  }
  if (c.rope.attention_factor != 1.0f) set("rope.scaling.attn_factor", c.rope.attention_factor);
  if (c.rope.local_base != 0.0f) set("rope.freq_base_swa", c.rope.local_base);
  if (c.window != 0) set("attention.sliding_window", c.window);
  // An array with a number per layer.
  const auto set_each = [&](const char* name, auto number) {
    std::vector<std::int32_t> numbers;
    for (std::uint32_t l = 0; l < c.layers; ++l) numbers.push_back(static_cast<std::int32_t>(number(l)));
    contents.Set(architecture + "." + name, std::move(numbers));
  };
  if (c.architecture == inlay::Architecture::kGemma4) {
    set_each("attention.sliding_window_pattern", [&](std::uint32_t l) { return !c.attention.global.Has(l); });
  }
  if (c.local.head_dim != 0) {
    set("attention.key_length_swa", c.local.head_dim);
    set("attention.value_length_swa", c.local.head_dim);
    set("rope.dimension_count_swa", c.local.rope_dim);
    set_each("attention.head_count_kv",
             [&](std::uint32_t l) { return c.attention.global.Has(l) ? c.kv_heads : c.local.kv_heads; });
  }
  if (c.wide_ffn_dim != 0) {
    set_each("feed_forward_length", [&](std::uint32_t l) { return c.wide_layers.Has(l) ? c.wide_ffn_dim : c.ffn_dim; });
  }
  if (c.attention.shared_layers != 0) set("attention.shared_kv_layers", c.attention.shared_layers);
  if (c.layer_input_dim != 0) set("embedding_length_per_layer_input", c.layer_input_dim);
  if (c.streams.count != 0) {
    set("altup.num_inputs", c.streams.count);
    set("altup.active_idx", 0u);
    std::vector<float> deviations;
    for (std::uint32_t l = 0; l < c.layers; ++l) deviations.push_back(c.sparse_layers.Has(l) ? c.sparsity : -INFINITY);
    contents.Set(architecture + ".activation_sparsity_scale", std::move(deviations));
  }
  if (c.experts != 0) {
    set("expert_count", c.experts);
    set("expert_used_count", c.experts_per_token);
    if (c.expert.ffn_dim != 0) set("expert_feed_forward_length", c.expert.ffn_dim);
    if (c.expert.shared_ffn_dim != 0) set("expert_shared_feed_forward_length", c.expert.shared_ffn_dim);
    if (c.expert.leading_dense != 0) set("leading_dense_block_count", c.expert.leading_dense);
    const bool nomic = c.architecture == inlay::Architecture::kNomicBertMoe;
    if (c.expert.step != 1) set(nomic ? "moe_every_n_layers" : "interleave_moe_layer_step", c.expert.step);
  }
  if (c.attention.softcap != 0.0f) set("attn_logit_softcapping", c.attention.softcap);
  if (c.logit_softcap != 0.0f) set("final_logit_softcapping", c.logit_softcap);
  if (c.attention.scale != 0.0f) set("attention.scale", c.attention.scale);
  if (c.attention.temperature != 0.0f) set("attention.temperature_scale", c.attention.temperature);
  if (c.logit_divisor != 1.0f) set("logit_scale", c.logit_divisor);
  if (c.residual_scale != 1.0f) set("residual_scale", c.residual_scale);
  if (IsOneOf(c.architecture, {inlay::Architecture::kGranite, inlay::Architecture::kGraniteMoe})) {
    set("embedding_scale", c.embedding_scale);
  }
  if (c.architecture == inlay::Architecture::kGptNeoX) set("use_parallel_residual", c.parallel_residual);
  if (!c.attention.causal) set("attention.causal", false);
  if (c.pooling != inlay::Pooling::kNone) set("pooling_type", static_cast<std::uint32_t>(c.pooling));
}

// The tensors of one file, drawn one after the other.
class TensorMaker {
 public:
  TensorMaker(const RandomModelOptions& options, FileContents& contents)
      : options_(options), contents_(contents), random_(options.seed) {}

  // Values around `center`, uniform, of the given standard deviation.
  std::vector<float> Values(std::size_t count, float center, float deviation) {
    std::vector<float> out(count);
    for (float& value : out) value = center + random_.Symmetric() * (deviation * 1.7320508f);
    return out;
  }
  void Vector(const std::string& name, std::size_t cols, float center, float deviation, std::size_t count = 1) {
    std::vector<std::uint64_t> dims = {cols};
    if (count != 1) dims.push_back(count);
    contents_.tensors.push_back({name, 0, dims, Encode(inlay::WeightType::kF32, Values(cols * count, center, deviation), cols)});
  }
  // A norm's weight, and its bias.
  void Norm(const std::string& name, std::size_t cols) {
    Vector(name + ".weight", cols, 1.0f, 0.3f);
    if (options_.config.norm.bias) Bias(name, cols);
  }
  void Bias(const std::string& name, std::size_t cols, std::size_t count = 1) {
    Vector(name + ".bias", cols, 0.0f, 0.3f, count);
  }
  void Matrix(const std::string& name, std::size_t rows, std::size_t cols, float gain, std::size_t count = 0) {
    const inlay::WeightType type = options_.type(name);
    const float deviation = gain / std::sqrt(static_cast<float>(cols));
    std::vector<std::uint64_t> dims = {cols, rows};
    if (count != 0) dims.push_back(count);
    const std::vector<float> all = Values(rows * cols * (count == 0 ? 1 : count), 0.0f, deviation);
    contents_.tensors.push_back({name, static_cast<std::uint32_t>(type), dims, Encode(type, all, cols)});
  }

 private:
  static AlignedBytes Encode(inlay::WeightType type, const std::vector<float>& values, std::size_t cols) {
    const std::size_t row_bytes = inlay::RowBytes(type, cols), rows = values.size() / cols;
    AlignedBytes data(rows * row_bytes);
    for (std::size_t r = 0; r < rows; ++r) inlay::EncodeRow(type, &values[r * cols], cols, &data[r * row_bytes]);
    return data;
  }

  const RandomModelOptions& options_;
  FileContents& contents_;
  Random random_;
};

inline void AddAttention(const inlay::ModelConfig& c, std::uint32_t layer, const std::string& block, TensorMaker& make) {
  const bool narrow = c.local.head_dim != 0 && !c.attention.global.Has(layer);
  const std::size_t head_dim = narrow ? c.local.head_dim : c.head_dim, kv_heads = narrow ? c.local.kv_heads : c.kv_heads;
  const std::size_t value_dim = narrow || c.value_dim == 0 ? head_dim : c.value_dim;
  const std::size_t q = c.heads * head_dim, k = kv_heads * head_dim, v = kv_heads * value_dim;
  const bool has_keys = layer + c.attention.shared_layers < c.layers;
  const auto biased = [&](const char* name, std::size_t rows, float gain) {
    make.Matrix(block + name + ".weight", rows, c.dim, gain);
    if (c.attention.qkv_bias) make.Bias(block + name, rows);
  };
  if (FusesQueryKeyValue(c.architecture)) {
    biased("attn_qkv", q + k + v, 1.5f);
  } else {
    biased("attn_q", q, 1.5f);
    if (has_keys) biased("attn_k", k, 1.5f);
    if (has_keys && !c.attention.keys_as_values.Has(layer)) biased("attn_v", v, 1.0f);
  }
  if (c.attention.qk_norm == inlay::QkNorm::kHead || c.attention.qk_norm == inlay::QkNorm::kWidth) {
    const bool heads = c.attention.qk_norm == inlay::QkNorm::kHead;
    // Where no scale does it, these keep scores in a range that is not all or nothing.
    const float center = c.attention.scale == 1.0f ? 0.5f : 1.0f;
    make.Vector(block + "attn_q_norm.weight", heads ? head_dim : q, center, 0.3f * center);
    if (has_keys) make.Vector(block + "attn_k_norm.weight", heads ? head_dim : k, center, 0.3f * center);
  }
  if (c.attention.sinks) make.Vector(block + "attn_sinks.weight", c.heads, 1.0f, 1.0f);
  make.Matrix(block + "attn_output.weight", c.dim, c.heads * value_dim, 1.0f);
  if (c.attention.output_bias) make.Bias(block + "attn_output", c.dim);
}

inline void AddDenseNetwork(const inlay::ModelConfig& c, std::uint32_t layer, const std::string& block, TensorMaker& make) {
  const std::size_t ffn = c.wide_layers.Has(layer) ? c.wide_ffn_dim : c.ffn_dim;
  const auto biased = [&](const char* name, std::size_t rows, std::size_t cols, float gain) {
    make.Matrix(block + name + ".weight", rows, cols, gain);
    if (c.ffn_bias) make.Bias(block + name, rows);
  };
  if (FusesGateUp(c.architecture)) {
    biased("ffn_up", 2 * ffn, c.dim, 1.5f);
  } else {
    if (c.gated) biased("ffn_gate", ffn, c.dim, 1.5f);
    biased("ffn_up", ffn, c.dim, 1.5f);
  }
  biased("ffn_down", c.dim, ffn, 1.0f);
}

inline void AddExperts(const inlay::ModelConfig& c, const std::string& block, TensorMaker& make) {
  const std::size_t ffn = c.expert.ffn_dim == 0 ? c.ffn_dim : c.expert.ffn_dim;
  make.Matrix(block + "ffn_gate_inp.weight", c.experts, c.dim, 1.5f);
  if (c.expert.router_bias) make.Bias(block + "ffn_gate_inp", c.experts);
  if (c.expert.selection_bias) make.Bias(block + "exp_probs_b", c.experts);
  const auto biased = [&](const char* name, std::size_t rows, std::size_t cols, float gain) {
    make.Matrix(block + name + ".weight", rows, cols, gain, c.experts);
    if (c.expert.bias) make.Bias(block + name, rows, c.experts);
  };
  if (c.expert.beside_dense) {
    biased("ffn_gate_up_exps", 2 * ffn, c.dim, 1.5f);
    make.Vector(block + "ffn_gate_inp.scale", c.dim, 4.0f, 1.0f);
    for (const char* name : {"pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"}) make.Norm(block + name, c.dim);
  } else {
    if (c.gated) biased("ffn_gate_exps", ffn, c.dim, 1.5f);
    biased("ffn_up_exps", ffn, c.dim, 1.5f);
  }
  biased("ffn_down_exps", c.dim, ffn, 1.0f);
  if (c.expert.output_scale) make.Vector(block + "ffn_down_exps.scale", c.experts, 1.0f, 0.3f);
  if (c.expert.shared_ffn_dim == 0) return;
  make.Matrix(block + "ffn_gate_shexp.weight", c.expert.shared_ffn_dim, c.dim, 1.5f);
  make.Matrix(block + "ffn_up_shexp.weight", c.expert.shared_ffn_dim, c.dim, 1.5f);
  make.Matrix(block + "ffn_down_shexp.weight", c.dim, c.expert.shared_ffn_dim, 1.0f);
  if (c.expert.shared_gate) make.Vector(block + "ffn_gate_inp_shexp.weight", c.dim, 0.0f, 0.3f);
}

// What Gemma 3n and Gemma 4 have besides: inputs of each layer's own, and several streams.
inline void AddLayerInputs(const inlay::ModelConfig& c, TensorMaker& make) {
  if (c.layer_input_dim == 0) return;
  const std::size_t all = c.layers * std::size_t{c.layer_input_dim};
  make.Matrix("per_layer_token_embd.weight", c.vocab, all, std::sqrt(static_cast<float>(all) / static_cast<float>(c.layer_input_dim)));
  make.Matrix("per_layer_model_proj.weight", all, c.dim, std::sqrt(static_cast<float>(c.dim)));
  make.Norm("per_layer_proj_norm", c.layer_input_dim);
  if (c.streams.count == 0) return;
  make.Matrix("altup_proj.weight", c.dim, c.dim, 1.0f, c.streams.count - 1);
  make.Matrix("altup_unembd_proj.weight", c.dim, c.dim, 1.0f, c.streams.count - 1);
}
// Behind the pooled vector.
inline void AddHead(const inlay::ModelConfig& c, TensorMaker& make) {
  const inlay::HeadConfig& head = c.head;
  if (head.dense) make.Matrix("cls.weight", c.dim, c.dim, 1.0f);
  if (head.dense_bias) make.Bias("cls", c.dim);
  if (head.norm) make.Vector("cls.norm.weight", c.dim, 1.0f, 0.3f);
  if (head.labels != 0) make.Matrix("cls.output.weight", head.labels, c.dim, 1.0f);
  if (head.label_bias) make.Bias("cls.output", head.labels);
  if (head.first_dim != 0) make.Matrix("dense_2.weight", head.first_dim, c.dim, 1.0f);
  if (head.last_dim != 0) make.Matrix("dense_3.weight", head.last_dim, head.first_dim != 0 ? head.first_dim : c.dim, 1.0f);
}
inline void AddLayerEnd(const inlay::ModelConfig& c, const std::string& block, TensorMaker& make) {
  if (c.layer_input_dim != 0) {
    make.Matrix(block + "inp_gate.weight", c.layer_input_dim, c.dim, 1.0f);
    make.Matrix(block + "proj.weight", c.dim, c.layer_input_dim, 1.0f);
    make.Norm(block + "post_norm", c.dim);
  }
  if (c.layer_scale) make.Vector(block + "layer_output_scale.weight", 1, 0.8f, 0.1f);
  if (c.streams.count == 0) return;
  const std::size_t count = c.streams.count, rank = c.streams.bypass_rank;
  make.Norm(block + "altup_router_norm", c.dim);
  make.Vector(block + "altup_router.weight", c.dim, 0.0f, std::sqrt(static_cast<float>(c.dim)), count);
  make.Vector(block + "altup_predict_coef.weight", count, 0.0f, 0.3f, count * count);
  make.Vector(block + "altup_correct_coef.weight", count, 0.0f, 0.3f, count);
  make.Vector(block + "altup_correct_scale.weight", c.dim, 1.0f, 0.3f);
  make.Matrix(block + "laurel_l.weight", rank, c.dim, 1.0f);
  make.Matrix(block + "laurel_r.weight", c.dim, rank, 1.0f);
  make.Norm(block + "laurel_post_norm", c.dim);
}

}  // namespace detail

// Whether layer `l` has experts.
inline bool LayerHasExperts(const inlay::ModelConfig& c, std::size_t l) {
  return c.experts != 0 && l >= c.expert.leading_dense && (l + 1) % c.expert.step == 0;
}

inline FileContents RandomModel(const RandomModelOptions& options) {
  const inlay::ModelConfig& c = options.config;
  FileContents contents;
  detail::AddKeys(c, contents);
  if (options.tokenizer) AddTinyVocabulary(contents, c.vocab);

  detail::TensorMaker make(options, contents);
  using Placement = inlay::NormPlacement;
  const bool pre = c.norm.placement == Placement::kPre || c.norm.placement == Placement::kSandwich;
  const bool sums = c.norm.placement == Placement::kResidual;
  make.Matrix("token_embd.weight", c.vocab, c.dim, std::sqrt(static_cast<float>(c.dim)) / c.embedding_scale);
  if (c.learned_positions) make.Matrix("position_embd.weight", c.context, c.dim, 0.5f * std::sqrt(static_cast<float>(c.dim)));
  if (c.token_types != 0) make.Matrix("token_types.weight", c.token_types, c.dim, std::sqrt(static_cast<float>(c.dim)));
  if (c.norm.embedding) make.Norm("token_embd_norm", c.dim);
  for (std::uint32_t l = 0; l < c.layers; ++l) {
    const std::string block = "blk." + std::to_string(l) + ".";
    if (pre && !(c.norm.first_identity && l == 0)) make.Norm(block + "attn_norm", c.dim);
    detail::AddAttention(c, l, block, make);
    if (c.norm.placement != Placement::kPre) make.Norm(block + (sums ? "attn_output_norm" : "post_attention_norm"), c.dim);
    const bool renamed = c.architecture == inlay::Architecture::kGptOss;
    if (pre) make.Norm(block + (renamed ? "post_attention_norm" : "ffn_norm"), c.dim);
    if (LayerHasExperts(c, l)) detail::AddExperts(c, block, make);
    if (!LayerHasExperts(c, l) || c.expert.beside_dense) detail::AddDenseNetwork(c, l, block, make);
    if (c.norm.placement != Placement::kPre) make.Norm(block + (sums ? "layer_output_norm" : "post_ffw_norm"), c.dim);
    detail::AddLayerEnd(c, block, make);
  }
  detail::AddLayerInputs(c, make);
  detail::AddHead(c, make);
  if (!sums) make.Norm("output_norm", c.dim);
  if (c.logits && !c.tied_embeddings) {
    make.Matrix("output.weight", c.vocab, c.dim, options.output_gain);
    if (c.output_bias) make.Bias("output", c.vocab);
  }
  if (c.rope_scaling == inlay::RopeScaling::kFactors) make.Vector("rope_freqs.weight", c.rope_dim / 2, 4.0f, 1.5f);
  if (c.rope_scaling == inlay::RopeScaling::kLongRope) {
    make.Vector("rope_factors_long.weight", c.rope_dim / 2, 8.0f, 2.0f);
    make.Vector("rope_factors_short.weight", c.rope_dim / 2, 1.5f, 0.25f);
  }
  return contents;
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_RANDOM_MODEL_HPP_
