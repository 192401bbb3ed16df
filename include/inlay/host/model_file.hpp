// Opens a model file on a machine with a heap and files: maps it, packs it if need be, reads its tokenizer. Everything
// here is convenience over the parts below; a program that brings its own memory uses those.
#ifndef INLAY_HOST_MODEL_FILE_HPP_
#define INLAY_HOST_MODEL_FILE_HPP_

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "inlay/config/model_config.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/llama2c.hpp"
#include "inlay/files/mapped_file.hpp"
#include "inlay/host/mapped_gguf.hpp"
#include "inlay/host/owned_tokenizer.hpp"
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
  // False: configuration, types and tokenizer only; nothing is packed and packed_weights() of an unpacked file is empty.
  bool weights = true;
};

// The kinds of files that a program opens.
enum class FileKinds {
  kAll,     // GGUF, packed or not and split or not, and llama2.c checkpoints
  kPacked,  // packed GGUF only: nothing that packs weights or reads the keys of other files is part of the program
};

// A model file, ready to be bound to a model. Owns the mapping and, for files that are not packed, the packed copy. Movable;
// what it hands out stays valid as long as it, or what it was moved to, lives.
//
// ModelFile below opens everything there is. PackedModelFile<SentencePieceBpe> is for a program that knows what it opens,
// as one that has its model linked in, and carries only the code for that.
template <FileKinds kKinds, class... Algorithms>
class BasicModelFile {
 public:
  // Errors: those of the readers, of ReadConfig and PackWeights, kSystem; kUnsupported for a file of another kind than
  // kKinds has. Packing runs on `executor` and tells `progress`.
  static Result<BasicModelFile> Open(const char* path, const LoadOptions& options, ExecutorRef executor,
                                     PackProgress progress) {
    INLAY_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
    return Open(std::move(mapping), path, options, executor, progress);
  }
  static Result<BasicModelFile> Open(const char* path, const LoadOptions& options, ExecutorRef executor) {
    return Open(path, options, executor, [](std::size_t, std::size_t) { return true; });
  }
  // A file that is mapped already; `path` is where the other files of a split model are looked for.
  static Result<BasicModelFile> Open(MappedFile mapping, const char* path, const LoadOptions& options, ExecutorRef executor,
                                     PackProgress progress) {
    BasicModelFile file;
    if constexpr (kKinds == FileKinds::kAll) {
      if (!StartsLikeGguf(mapping.bytes())) {
        file.mapping_ = std::move(mapping);
        INLAY_CHECK_OK(file.OpenCheckpoint(options, executor, progress));
        return file;
      }
      INLAY_ASSIGN_OR_RETURN(file.gguf_, MappedGguf::Open(std::move(mapping), path));
    } else {
      INLAY_ASSIGN_OR_RETURN(file.gguf_, MappedGguf::OpenOne(std::move(mapping)));
    }
    INLAY_CHECK_OK(file.OpenGguf(options, executor, progress));
    return file;
  }
  // A file in memory, as one linked into the program (inlay_embed_model in CMake). It outlives the model. A packed one
  // whose weights are at a multiple of kAlignment is used where it is.
  static Result<BasicModelFile> Open(std::span<const std::byte> file, const LoadOptions& options, ExecutorRef executor) {
    return Open(MappedFile::Borrow(file), "", options, executor, [](std::size_t, std::size_t) { return true; });
  }

  const ModelConfig& config() const { return config_; }
  TensorTypes types() const { return types_; }
  std::span<const std::byte> packed_weights() const { return packed_; }
  // nullptr where the file has none.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  // Why there is none.
  const Error& tokenizer_error() const { return tokenizer_error_; }
  // nullptr for a llama2.c checkpoint.
  const GgufFile* gguf() const { return gguf_.file(); }
  // Whether the weights are used where they are in the file.
  bool was_packed() const { return was_packed_; }

 private:
  Result<void> OpenGguf(const LoadOptions& options, [[maybe_unused]] ExecutorRef executor,
                        [[maybe_unused]] PackProgress progress) {
    INLAY_CHECK_OK(ReadTokenizer());
    if (!PackedFile::IsPacked(*gguf())) {
      if constexpr (kKinds == FileKinds::kAll) {
        INLAY_ASSIGN_OR_RETURN(config_, ReadConfig(*gguf()));
        return Pack(*gguf(), gguf_, options, executor, progress);
      } else {
        return Fail(ErrorCode::kUnsupported, "inlay.layout", "is not there: this program reads packed files only");
      }
    }
    INLAY_ASSIGN_OR_RETURN(const PackedFile packed, PackedFile::Open(*gguf()));
    if (options.verify) INLAY_CHECK_OK(packed.Verify());
    config_ = packed.config();
    types_ = packed.types();
    packed_ = packed.weights();
    was_packed_ = true;
    return {};
  }

  Result<void> OpenCheckpoint(const LoadOptions& options, ExecutorRef executor, PackProgress progress) {
    const Result<Llama2cCheckpoint> checkpoint = Llama2cCheckpoint::Open(mapping_.bytes());
    if (!checkpoint) {
      Error error = checkpoint.error();
      error.detail.Append("; the file is not GGUF, so it was read as a llama2.c checkpoint");
      return error;
    }
    INLAY_ASSIGN_OR_RETURN(config_, ReadConfig(*checkpoint));
    if (options.tokenizer_path[0] == '\0') {
      tokenizer_error_.detail = TextBuffer<192>("a llama2.c checkpoint has none; its tokenizer.bin must be named");
    } else {
      INLAY_ASSIGN_OR_RETURN(tokenizer_, OwnedTokenizer::FromLlama2c(options.tokenizer_path, config_.vocab));
    }
    // Of a quantised checkpoint: its matrices as Q8_0 until they are packed.
    INLAY_ASSIGN_OR_RETURN(OwnedBuffer converted, OwnedBuffer::Create(static_cast<std::size_t>(checkpoint->q8_0_bytes())));
    return Pack(*checkpoint, mapping_, options, executor, progress, converted.bytes());
  }

  // A file without a tokenizer, or with an algorithm that this version lacks, still runs on token ids; tokenizer_error()
  // says why there is no text.
  Result<void> ReadTokenizer() {
    if (OwnedTokenizer::IsAbsent(*gguf())) return {};
    Result<OwnedTokenizer> tokenizer = OwnedTokenizer::FromGguf<Algorithms...>(*gguf());
    if (tokenizer) {
      tokenizer_ = *std::move(tokenizer);
    } else if (tokenizer.error().code == ErrorCode::kUnsupported) {
      tokenizer_error_ = tokenizer.error();
    } else {
      return tokenizer.error();
    }
    return {};
  }

  // `more` is what BindSource needs beyond the table.
  template <class Source, class Mapping, class... More>
  Result<void> Pack(const Source& source, const Mapping& mapping, const LoadOptions& options, ExecutorRef executor,
                    PackProgress progress, const More&... more) {
    const std::size_t count = TensorCount(config_);
    INLAY_ASSIGN_OR_RETURN(OwnedBuffer table, OwnedBuffer::Create(count * sizeof(SourceTensor), "tensor table"));
    const std::span<SourceTensor> sources(reinterpret_cast<SourceTensor*>(table.bytes().data()), count);
    INLAY_CHECK_OK(BindSource(config_, source, sources, more...));
    INLAY_ASSIGN_OR_RETURN(types_memory_, OwnedBuffer::Create(count, "tensor types"));
    const std::span<WeightType> types(reinterpret_cast<WeightType*>(types_memory_.bytes().data()), count);
    ListTypes(sources, types);
    types_ = types;
    if (!options.weights) return {};
    INLAY_ASSIGN_OR_RETURN(buffer_, OwnedBuffer::Create(PackedWeightsBytes(config_, types_), "packed weights"));
    packed_ = buffer_.bytes();
    // A tensor that is packed is not needed in the file's form: without this a model would be in memory twice.
    const auto release = [&](std::size_t done, std::size_t total) {
      mapping.ReleasePages();
      return progress(done, total);
    };
    return PackWeights(config_, sources, options.verify, buffer_.bytes(), executor, release);
  }

  MappedGguf gguf_;
  MappedFile mapping_;  // of a checkpoint
  OwnedBuffer buffer_;
  OwnedBuffer types_memory_;
  OwnedTokenizer tokenizer_;
  Error tokenizer_error_ = Fail(ErrorCode::kMissing, "tokenizer", "the model file has none");
  ModelConfig config_;
  TensorTypes types_;
  std::span<const std::byte> packed_;
  bool was_packed_ = false;
};

// Any file, with any tokenizer.
using ModelFile = BasicModelFile<FileKinds::kAll>;

// Packed files, whose vocabularies one of the Algorithms reads (none given: all that the library has).
template <class... Algorithms>
using PackedModelFile = BasicModelFile<FileKinds::kPacked, Algorithms...>;

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_MODEL_FILE_HPP_
