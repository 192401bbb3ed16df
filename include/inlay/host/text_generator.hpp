// A text generator in one object: model, tokenizer, session and all their memory, for programs that want text from a
// prompt and have a heap.
#ifndef INLAY_HOST_TEXT_GENERATOR_HPP_
#define INLAY_HOST_TEXT_GENERATOR_HPP_

#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/generate/generation.hpp"
#include "inlay/generate/session.hpp"
#include "inlay/host/encoded_text.hpp"
#include "inlay/host/loaded_model.hpp"
#include "inlay/text/tokenizer.hpp"

INLAY_BEGIN_NAMESPACE

//   inlay::ThreadPool threads(4);
//   auto generator = inlay::TextGenerator<inlay::AnyModel>::Open("model.gguf", threads);
//   auto story = generator->Generate("Once upon a time");
//   for (std::string_view text : *story) std::cout << text;
//
// FileType: what a file may be, see LoadedModel. Movable. The executor outlives it.
template <class ModelType, class FileType = ModelFile>
class TextGenerator {
 public:
  struct Options {
    LoadOptions load;
    SessionOptions session;
  };

  // Errors: those of LoadedModel::Open and Session::Create; kMissing or kUnsupported when the file has no tokenizer that
  // this library reads.
  static Result<TextGenerator> Open(const char* path, const Options& options, ExecutorRef executor) {
    return Start(LoadedModel<ModelType, FileType>::Open(path, options.load, executor), options, executor);
  }
  static Result<TextGenerator> Open(const char* path, ExecutorRef executor) { return Open(path, Options{}, executor); }
  // A file in memory, which outlives the generator: see ModelFile::Open.
  static Result<TextGenerator> Open(std::span<const std::byte> file, const Options& options, ExecutorRef executor) {
    return Start(LoadedModel<ModelType, FileType>::Open(file, options.load, executor), options, executor);
  }
  static Result<TextGenerator> Open(std::span<const std::byte> file, ExecutorRef executor) {
    return Open(file, Options{}, executor);
  }

  const ModelType& model() const { return state_->loaded.model(); }
  const Tokenizer& tokenizer() const { return *state_->loaded.tokenizer(); }
  const FileType& file() const { return state_->loaded.file(); }

  // Reads the prompt from the beginning of the context and returns what follows it, to be run through with range-for; see
  // Generation. The text generated before is forgotten, and its Generation must not be used any more.
  // Errors: kContextFull (prompt), an option out of range, kOutOfMemory.
  Result<Generation<ModelType>> Generate(std::string_view prompt, const GenerateOptions& options = {}) {
    INLAY_ASSIGN_OR_RETURN(state_->prompt, EncodedText::Create(tokenizer(), prompt));
    return Generate(state_->prompt.tokens(), options);
  }
  // The same for a prompt of tokens, as one with control tokens in it.
  Result<Generation<ModelType>> Generate(std::span<const TokenId> prompt, const GenerateOptions& options = {}) {
    State& state = *state_;
    state.session->Truncate(0);
    INLAY_CHECK_OK(state.session->Append(prompt, executor_));
    const std::size_t bytes = Generation<ModelType>::MemoryBytes(model(), tokenizer(), options);
    if (bytes > state.generation_memory.size()) {
      INLAY_ASSIGN_OR_RETURN(state.generation_memory, OwnedBuffer::Create(bytes, "generation"));
    }
    return Generation<ModelType>::Create(*state.session, tokenizer(), prompt, options, state.generation_memory.bytes(),
                                         executor_);
  }

 private:
  // On the heap, because a session points to its model.
  struct State {
    LoadedModel<ModelType, FileType> loaded;
    OwnedBuffer session_memory;
    OwnedBuffer generation_memory;
    std::optional<Session<ModelType>> session;
    EncodedText prompt;
  };

  explicit TextGenerator(ExecutorRef executor) : executor_(executor) {}

  static Result<TextGenerator> Start(Result<LoadedModel<ModelType, FileType>> opened, const Options& options,
                                     ExecutorRef executor) {
    INLAY_ASSIGN_OR_RETURN(auto loaded, std::move(opened));
    if (loaded.tokenizer() == nullptr) return loaded.file().tokenizer_error();
    TextGenerator generator(executor);
    generator.state_.reset(new (std::nothrow) State{std::move(loaded), {}, {}, {}, {}});
    if (!generator.state_) return Fail(ErrorCode::kOutOfMemory, "text generator", "the heap refused");
    State& state = *generator.state_;
    INLAY_ASSIGN_OR_RETURN(const std::size_t bytes, Session<ModelType>::MemoryBytes(generator.model(), options.session));
    INLAY_ASSIGN_OR_RETURN(state.session_memory, OwnedBuffer::Create(bytes, "session"));
    INLAY_ASSIGN_OR_RETURN(
        state.session, Session<ModelType>::Create(generator.model(), options.session, state.session_memory.bytes()));
    return generator;
  }

  ExecutorRef executor_;
  std::unique_ptr<State> state_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_TEXT_GENERATOR_HPP_
