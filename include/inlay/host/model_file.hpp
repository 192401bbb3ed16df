// Opens a model file on a machine with a heap and files: maps it, packs it if need be, reads its tokenizer. Everything
// here is convenience over the parts below; a program that brings its own memory uses those.
#ifndef INLAY_HOST_MODEL_FILE_HPP_
#define INLAY_HOST_MODEL_FILE_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/llama2c.hpp"
#include "inlay/files/mapped_file.hpp"
#include "inlay/model/model.hpp"
#include "inlay/text/tokenizer.hpp"
#include "inlay/weights/pack.hpp"
#include "inlay/weights/packed_file.hpp"
#include "inlay/weights/weight_source.hpp"

INLAY_BEGIN_NAMESPACE

struct LoadOptions {
  // llama2.c's tokenizer.bin, for checkpoints that carry no tokenizer. Empty: none.
  const char* tokenizer_path = "";
  // Check what can be checked at the cost of reading every weight: the hash of a packed file, NaN and infinity elsewhere.
  bool verify = false;
};

// A GGUF file (plain or packed) or a llama2.c checkpoint, ready to be bound to a model. Owns the mapping and, for files
// that are not packed, the packed copy. Movable; what it hands out stays valid as long as it, or what it was moved to, lives.
class ModelFile {
 public:
  // Errors: those of the readers, of ReadConfig and PackWeights, kSystem. Packing runs on `executor` and tells `progress`.
  static Result<ModelFile> Open(const char* path, const LoadOptions& options, ExecutorRef executor, PackProgress progress) {
    ModelFile file;
    INLAY_ASSIGN_OR_RETURN(file.mapping_, MappedFile::Open(path));
    const std::span<const std::byte> bytes = file.mapping_.bytes();
    const bool is_gguf = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
    if (is_gguf) {
      INLAY_CHECK_OK(file.OpenGguf(bytes, options, executor, progress));
    } else {
      INLAY_CHECK_OK(file.OpenCheckpoint(bytes, options, executor, progress));
    }
    return file;
  }
  static Result<ModelFile> Open(const char* path, const LoadOptions& options, ExecutorRef executor) {
    return Open(path, options, executor, [](std::size_t, std::size_t) { return true; });
  }

  const ModelConfig& config() const { return config_; }
  TensorTypes types() const { return types_; }
  std::span<const std::byte> packed_weights() const { return packed_; }
  // nullptr where the file has none.
  const Tokenizer* tokenizer() const { return tokenizer_ ? &*tokenizer_ : nullptr; }
  // Why there is none.
  const Error& tokenizer_error() const { return tokenizer_error_; }
  const GgufFile* gguf() const { return gguf_ ? &*gguf_ : nullptr; }
  bool was_packed() const { return buffer_.size() == 0; }

 private:
  Result<void> OpenGguf(std::span<const std::byte> bytes, const LoadOptions& options, ExecutorRef executor,
                        PackProgress progress) {
    INLAY_ASSIGN_OR_RETURN(index_, OwnedBuffer::Create(GgufFile::IndexBytes(bytes), "file index"));
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(index_.bytes()));
    INLAY_ASSIGN_OR_RETURN(gguf_, GgufFile::Open(bytes, arena));
    INLAY_CHECK_OK(ReadTokenizer());
    if (!PackedFile::IsPacked(*gguf_)) {
      INLAY_ASSIGN_OR_RETURN(config_, ReadConfig(*gguf_));
      return Pack(*gguf_, options, executor, progress);
    }
    INLAY_ASSIGN_OR_RETURN(const PackedFile packed, PackedFile::Open(*gguf_));
    if (options.verify) INLAY_CHECK_OK(packed.Verify());
    config_ = packed.config();
    types_ = packed.types();
    packed_ = packed.weights();
    return {};
  }

  Result<void> OpenCheckpoint(std::span<const std::byte> bytes, const LoadOptions& options, ExecutorRef executor,
                              PackProgress progress) {
    INLAY_ASSIGN_OR_RETURN(const Llama2cCheckpoint checkpoint, Llama2cCheckpoint::Open(bytes));
    INLAY_ASSIGN_OR_RETURN(config_, ReadConfig(checkpoint));
    if (options.tokenizer_path[0] != '\0') {
      INLAY_ASSIGN_OR_RETURN(tokenizer_mapping_, MappedFile::Open(options.tokenizer_path));
      INLAY_ASSIGN_OR_RETURN(tokenizer_memory_, OwnedBuffer::Create(Tokenizer::MaxArenaBytes(config_.vocab), "tokenizer"));
      INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(tokenizer_memory_.bytes()));
      INLAY_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::FromLlama2c(tokenizer_mapping_.bytes(), config_.vocab, arena));
    }
    return Pack(checkpoint, options, executor, progress);
  }

  // A file without a tokenizer ("no_vocab", or no tokenizer keys at all), or with an algorithm that this version lacks,
  // still runs on token ids; tokenizer_error() says why there is no text.
  Result<void> ReadTokenizer() {
    const Result<std::string_view> model = gguf_->GetString("tokenizer.ggml.model");
    if (!model || *model == "no_vocab" || *model == "none") return {};
    INLAY_ASSIGN_OR_RETURN(const std::size_t bytes, Tokenizer::ArenaBytesFor(*gguf_));
    INLAY_ASSIGN_OR_RETURN(tokenizer_memory_, OwnedBuffer::Create(bytes, "tokenizer"));
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(tokenizer_memory_.bytes()));
    const Result<Tokenizer> tokenizer = Tokenizer::FromGguf(*gguf_, arena);
    if (tokenizer) {
      tokenizer_ = *tokenizer;
    } else if (tokenizer.error().code == ErrorCode::kUnsupported) {
      tokenizer_error_ = tokenizer.error();
    } else {
      return tokenizer.error();
    }
    return {};
  }

  template <class Source>
  Result<void> Pack(const Source& source, const LoadOptions& options, ExecutorRef executor, PackProgress progress) {
    const std::size_t count = TensorCount(config_);
    INLAY_ASSIGN_OR_RETURN(OwnedBuffer table, OwnedBuffer::Create(count * sizeof(SourceTensor), "tensor table"));
    const std::span<SourceTensor> sources(reinterpret_cast<SourceTensor*>(table.bytes().data()), count);
    INLAY_CHECK_OK(BindSource(config_, source, sources));
    INLAY_ASSIGN_OR_RETURN(types_memory_, OwnedBuffer::Create(count, "tensor types"));
    const std::span<WeightType> types(reinterpret_cast<WeightType*>(types_memory_.bytes().data()), count);
    ListTypes(sources, types);
    types_ = types;
    INLAY_ASSIGN_OR_RETURN(buffer_, OwnedBuffer::Create(PackedWeightsBytes(config_, types_), "packed weights"));
    packed_ = buffer_.bytes();
    return PackWeights(config_, sources, options.verify, buffer_.bytes(), executor, progress);
  }

  MappedFile mapping_;
  MappedFile tokenizer_mapping_;
  OwnedBuffer index_;
  OwnedBuffer buffer_;
  OwnedBuffer types_memory_;
  OwnedBuffer tokenizer_memory_;
  std::optional<GgufFile> gguf_;
  std::optional<Tokenizer> tokenizer_;
  Error tokenizer_error_ = Fail(ErrorCode::kMissing, "tokenizer", "the model file has none");
  ModelConfig config_;
  TensorTypes types_;
  std::span<const std::byte> packed_;
};

// A model file bound to a model type: AnyModel, or a static Model<kConfig, Formats>, for which the file must hold exactly
// that model. Owns everything. Movable.
template <class ModelType>
class LoadedModel {
 public:
  static Result<LoadedModel> Open(const char* path, const LoadOptions& options, ExecutorRef executor,
                                  PackProgress progress) {
    LoadedModel loaded;
    INLAY_ASSIGN_OR_RETURN(loaded.file_, ModelFile::Open(path, options, executor, progress));
    const ModelConfig& config = loaded.file_.config();
    INLAY_ASSIGN_OR_RETURN(loaded.table_, OwnedBuffer::Create(config.layers * sizeof(LayerWeights), "layer table"));
    const std::span<LayerWeights> table(reinterpret_cast<LayerWeights*>(loaded.table_.bytes().data()), config.layers);
    INLAY_ASSIGN_OR_RETURN(loaded.model_,
                           ModelType::Create(config, loaded.file_.types(), loaded.file_.packed_weights(), table));
    return loaded;
  }
  static Result<LoadedModel> Open(const char* path, ExecutorRef executor) {
    return Open(path, LoadOptions{}, executor, [](std::size_t, std::size_t) { return true; });
  }

  const ModelType& model() const { return *model_; }
  const ModelFile& file() const { return file_; }
  const Tokenizer* tokenizer() const { return file_.tokenizer(); }

 private:
  LoadedModel() = default;

  ModelFile file_;
  OwnedBuffer table_;
  std::optional<ModelType> model_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_MODEL_FILE_HPP_
