// A model folder as Hugging Face's libraries write it: config.json, tensors in one or several safetensors files, and the
// tokenizer's files. Opens and checks; what it means for GGUF is in hf_families.cpp and hf_tokenizer.cpp.
#ifndef INLAY_EXAMPLES_CLI_HF_FOLDER_HPP_
#define INLAY_EXAMPLES_CLI_HF_FOLDER_HPP_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf_writer.hpp"
#include "inlay/files/mapped_file.hpp"
#include "inlay/files/safetensors.hpp"

namespace cli {

using HfJson = nlohmann::json;

// A whole JSON document. Strict: what is not JSON is an error that names the file and the byte.
inlay::Result<HfJson> ReadJsonFile(const std::string& path);

class HfFolder {
 public:
  // Opens config.json and all tensors: model.safetensors, or the files that model.safetensors.index.json names, which must
  // be in the folder itself.
  static inlay::Result<HfFolder> Open(const std::string& path);

  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const { return path_ + "/" + std::string(name); }
  // A file that may be absent; errors as those of ReadJsonFile.
  inlay::Result<std::optional<HfJson>> OptionalJson(std::string_view name) const;

  // config.json; of a model of several kinds of input, the part about text.
  const HfJson& config() const { return config_; }
  // The class that transformers would make: "LlamaForCausalLM".
  const std::string& architecture() const { return architecture_; }

  // Views the mapped files.
  const std::map<std::string, inlay::SafetensorsTensor, std::less<>>& tensors() const { return tensors_; }

 private:
  struct Shard {
    inlay::MappedFile mapping;
    inlay::OwnedBuffer index;
  };

  inlay::Result<void> ReadConfig();
  inlay::Result<void> OpenTensors();
  inlay::Result<inlay::SafetensorsFile> OpenShard(const std::string& name);

  std::string path_;
  HfJson config_;
  std::string architecture_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::map<std::string, inlay::SafetensorsTensor, std::less<>> tensors_;
};

// Metadata to be written, in order.
class MetadataList {
 public:
  template <class T>
  void Put(std::string key, T value) {
    Add([key = std::move(key), value = std::move(value)](inlay::GgufWriter& writer) {
      if constexpr (std::is_same_v<T, std::string>) {
        return writer.Put(key, std::string_view(value));
      } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
        return writer.PutStrings(key, value.size(), [&](std::size_t i) { return std::string_view(value[i]); });
      } else if constexpr (std::is_arithmetic_v<T>) {
        return writer.Put(key, value);
      } else {
        return writer.PutArray(key, std::span(value));
      }
    });
  }
  void Put(std::string key, const char* value) { Put(std::move(key), std::string(value)); }

  std::size_t size() const { return values_.size(); }
  inlay::Result<void> Write(inlay::GgufWriter& writer) const;

 private:
  using Value = std::function<inlay::Result<void>(inlay::GgufWriter&)>;
  void Add(Value value) { values_.push_back(std::move(value)); }

  std::vector<Value> values_;
};

// --- hf_tokenizer.cpp ---

// The folder's tokenizer as GGUF's "tokenizer." keys, for a model of `vocab` tokens: tokenizer.json (BPE over bytes, or over
// pieces with byte fallback; Unigram; WordPiece), or a SentencePiece tokenizer.model of BPE where there is one. "no_vocab" where
// there is neither. kUnsupported: another algorithm, a pre-tokenizer that is not known by name, or a step that the
// algorithm does not have.
inlay::Result<void> PutHfTokenizer(const HfFolder& folder, std::size_t vocab, MetadataList& metadata);

// --- hf_families.cpp ---

// How a tensor of the folder becomes one of the GGUF file.
enum class HfTransform {
  kNone,
  kRotaryRows,  // rows of each head go from halves (first all of one half of the pairs) to adjacent pairs
  kPlusOne,     // norms that are stored as their distance from 1
  kTranspose,   // matrices stored [in, out]
  kValues,      // no tensor of the folder: `values`
};

struct HfTensorPlan {
  std::string name;                            // in the GGUF file
  std::vector<inlay::SafetensorsTensor> parts;  // one, or one per expert
  HfTransform transform = HfTransform::kNone;
  std::size_t heads = 0;      // for kRotaryRows
  bool keep_float = false;    // float32 whatever format is asked for
  std::vector<float> values;  // for kValues
};

struct HfModelPlan {
  std::string architecture;  // GGUF's name
  std::size_t vocab = 0;
  MetadataList metadata;
  std::vector<HfTensorPlan> tensors;
};

// Configuration and names of the folder in GGUF's terms. kUnsupported: another architecture, or a feature that GGUF's
// family of that name does not have, by name; kMissing, kMismatch: a tensor absent, not known, or of a wrong shape.
inlay::Result<HfModelPlan> PlanHfModel(const HfFolder& folder);
// All class names that PlanHfModel takes.
std::string HfArchitectures();

}  // namespace cli

#endif  // INLAY_EXAMPLES_CLI_HF_FOLDER_HPP_
