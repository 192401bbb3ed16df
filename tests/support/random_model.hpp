// Model files made of random numbers, in memory: any configuration, any weight type per tensor, with or without a small
// vocabulary. The same seed gives the same bytes on every machine, so results computed from them can be stored.
//
// Names, keys and shapes are spelled out here once more instead of being taken from the library: a wrong name there would
// otherwise be wrong here too.
#ifndef INLAY_TESTS_SUPPORT_RANDOM_MODEL_HPP_
#define INLAY_TESTS_SUPPORT_RANDOM_MODEL_HPP_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <span>
#include <string>
#include <string_view>
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

inline AlignedBytes WriteGguf(const FileContents& contents) {
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
  auto writer = inlay::GgufWriter::Begin(sink, contents.metadata.size(), entries);
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

inline FileContents RandomModel(const RandomModelOptions& options) {
  const inlay::ModelConfig& c = options.config;
  FileContents contents;
  contents.Set("general.architecture", std::string("llama"));
  contents.Set("llama.embedding_length", c.dim);
  contents.Set("llama.block_count", c.layers);
  contents.Set("llama.attention.head_count", c.heads);
  contents.Set("llama.attention.head_count_kv", c.kv_heads);
  contents.Set("llama.attention.key_length", c.head_dim);
  contents.Set("llama.attention.value_length", c.head_dim);
  contents.Set("llama.feed_forward_length", c.ffn_dim);
  contents.Set("llama.context_length", c.context);
  contents.Set("llama.rope.dimension_count", c.rope_dim);
  contents.Set("llama.rope.freq_base", c.rope_base);
  contents.Set("llama.attention.layer_norm_rms_epsilon", c.norm_epsilon);
  if (c.rope_scaling == inlay::RopeScaling::kLinear) {
    contents.Set("llama.rope.scaling.type", std::string("linear"));
    contents.Set("llama.rope.scaling.factor", c.rope_scale);
  }
  if (c.window != 0) contents.Set("llama.attention.sliding_window", c.window);
  if (c.experts != 0) {
    contents.Set("llama.expert_count", c.experts);
    contents.Set("llama.expert_used_count", c.experts_per_token);
  }
  if (options.tokenizer) AddTinyVocabulary(contents, c.vocab);

  Random random(options.seed);
  const auto encode = [](inlay::WeightType type, const std::vector<float>& values, std::size_t cols) {
    const std::size_t row_bytes = inlay::RowBytes(type, cols), rows = values.size() / cols;
    AlignedBytes data(rows * row_bytes);
    for (std::size_t r = 0; r < rows; ++r) inlay::EncodeRow(type, &values[r * cols], cols, &data[r * row_bytes]);
    return data;
  };
  // Values around `center`, uniform, of the given standard deviation.
  const auto values = [&](std::size_t count, float center, float deviation) {
    std::vector<float> out(count);
    for (float& value : out) value = center + random.Symmetric() * (deviation * 1.7320508f);
    return out;
  };
  const auto vector = [&](const std::string& name, std::size_t cols, float center, float deviation) {
    constexpr inlay::WeightType kType = inlay::WeightType::kF32;
    contents.tensors.push_back({name, 0, {cols}, encode(kType, values(cols, center, deviation), cols)});
  };
  const auto matrix = [&](const std::string& name, std::size_t rows, std::size_t cols, float gain, std::size_t count = 0) {
    const inlay::WeightType type = options.type(name);
    const float deviation = gain / std::sqrt(static_cast<float>(cols));
    std::vector<std::uint64_t> dims = {cols, rows};
    if (count != 0) dims.push_back(count);
    const std::vector<float> all = values(rows * cols * (count == 0 ? 1 : count), 0.0f, deviation);
    contents.tensors.push_back({name, static_cast<std::uint32_t>(type), dims, encode(type, all, cols)});
  };
  matrix("token_embd.weight", c.vocab, c.dim, std::sqrt(static_cast<float>(c.dim)));
  for (std::uint32_t l = 0; l < c.layers; ++l) {
    const std::string block = "blk." + std::to_string(l) + ".";
    vector(block + "attn_norm.weight", c.dim, 1.0f, 0.3f);
    matrix(block + "attn_q.weight", c.q_dim(), c.dim, 1.5f);
    matrix(block + "attn_k.weight", c.k_dim(), c.dim, 1.5f);
    matrix(block + "attn_v.weight", c.k_dim(), c.dim, 1.0f);
    matrix(block + "attn_output.weight", c.dim, c.q_dim(), 1.0f);
    vector(block + "ffn_norm.weight", c.dim, 1.0f, 0.3f);
    if (c.experts == 0) {
      matrix(block + "ffn_gate.weight", c.ffn_dim, c.dim, 1.5f);
      matrix(block + "ffn_up.weight", c.ffn_dim, c.dim, 1.5f);
      matrix(block + "ffn_down.weight", c.dim, c.ffn_dim, 1.0f);
    } else {
      matrix(block + "ffn_gate_inp.weight", c.experts, c.dim, 1.5f);
      matrix(block + "ffn_gate_exps.weight", c.ffn_dim, c.dim, 1.5f, c.experts);
      matrix(block + "ffn_up_exps.weight", c.ffn_dim, c.dim, 1.5f, c.experts);
      matrix(block + "ffn_down_exps.weight", c.dim, c.ffn_dim, 1.0f, c.experts);
    }
  }
  vector("output_norm.weight", c.dim, 1.0f, 0.3f);
  if (!c.tied_embeddings) matrix("output.weight", c.vocab, c.dim, options.output_gain);
  if (c.rope_scaling == inlay::RopeScaling::kFactors) vector("rope_freqs.weight", c.rope_dim / 2, 4.0f, 1.5f);
  return contents;
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_RANDOM_MODEL_HPP_
