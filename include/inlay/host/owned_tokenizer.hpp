// A tokenizer with memory of its own, for machines with a heap.
#ifndef INLAY_HOST_OWNED_TOKENIZER_HPP_
#define INLAY_HOST_OWNED_TOKENIZER_HPP_

#include <cstddef>
#include <optional>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/mapped_file.hpp"
#include "inlay/text/tokenizer.hpp"

INLAY_BEGIN_NAMESPACE

// Owns the tables, and the file where it came from one of its own. Movable.
class OwnedTokenizer {
 public:
  OwnedTokenizer() = default;  // of nothing, to be assigned to

  // By whichever of the Algorithms reads the vocabulary (none given: all that the library has). Errors: those of
  // Tokenizer::FromGguf. The file outlives the tokenizer.
  template <class... Algorithms>
  static Result<OwnedTokenizer> FromGguf(const GgufFile& file) {
    OwnedTokenizer owned;
    INLAY_ASSIGN_OR_RETURN(const std::size_t bytes, Tokenizer::ArenaBytesFor<Algorithms...>(file));
    INLAY_ASSIGN_OR_RETURN(owned.memory_, OwnedBuffer::Create(bytes, "tokenizer"));
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(owned.memory_.bytes()));
    INLAY_ASSIGN_OR_RETURN(owned.tokenizer_, Tokenizer::FromGguf<Algorithms...>(file, arena));
    return owned;
  }

  // llama2.c's tokenizer.bin at `path`, for a model of `vocab` tokens. Errors: kSystem, and those of
  // Tokenizer::FromLlama2c.
  static Result<OwnedTokenizer> FromLlama2c(const char* path, std::size_t vocab) {
    OwnedTokenizer owned;
    INLAY_ASSIGN_OR_RETURN(owned.mapping_, MappedFile::Open(path));
    INLAY_ASSIGN_OR_RETURN(owned.memory_, OwnedBuffer::Create(Tokenizer::MaxArenaBytes(vocab), "tokenizer"));
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(owned.memory_.bytes()));
    INLAY_ASSIGN_OR_RETURN(owned.tokenizer_, Tokenizer::FromLlama2c(owned.mapping_.bytes(), vocab, arena));
    return owned;
  }

  // True when the file says that it has no vocabulary ("no_vocab"), or does not mention one.
  static bool IsAbsent(const GgufFile& file) {
    const Result<std::string_view> model = file.GetString("tokenizer.ggml.model");
    return !model || *model == "no_vocab" || *model == "none";
  }

  // nullptr when there is none.
  const Tokenizer* get() const { return tokenizer_ ? &*tokenizer_ : nullptr; }

 private:
  MappedFile mapping_;
  OwnedBuffer memory_;
  std::optional<Tokenizer> tokenizer_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_OWNED_TOKENIZER_HPP_
