// Generation: samples tokens from a session and streams them as text.
#ifndef INLAY_GENERATE_GENERATION_HPP_
#define INLAY_GENERATE_GENERATION_HPP_

#include <atomic>
#include <cstddef>
#include <span>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/generate/finish_reason.hpp"
#include "inlay/generate/sampler.hpp"
#include "inlay/generate/session.hpp"
#include "inlay/text/detokenizer.hpp"
#include "inlay/text/stop_strings.hpp"
#include "inlay/text/tokenizer.hpp"

INLAY_BEGIN_NAMESPACE

struct GenerateOptions {
  std::size_t max_tokens = 256;
  SamplerOptions sampling = {};
  // Generation ends before the first of these appears in the text. The strings outlive the generation.
  std::span<const std::string_view> stop = {};
  // Tokens that end a text or turn stop the generation; false: they are tokens like others (for benchmarks).
  bool stop_at_end_of_text = true;
  // Set from any thread or signal handler; looked at before every token. Outlives the generation.
  const std::atomic<bool>* cancel = nullptr;
};

// Text that follows what a session has read, piece by piece:
//
//   auto generation = Generation<AnyModel>::Create(session, tokenizer, prompt, options, memory, executor);
//   for (std::string_view text : *generation) std::cout << text;
//   if (!generation->status()) ...
//
// Each piece is whole UTF-8 characters (except where the model wrote bytes that are none) and may be empty. The last token
// sampled is not yet in the session when the generation ends: pass token() to Session::Append to go on after it.
template <class ModelType>
class Generation {
 public:
  // Bytes that Create takes from the memory handed over, exactly.
  static std::size_t MemoryBytes(const ModelType& model, const Tokenizer& tokenizer, const GenerateOptions& options) {
    return Sampler::MemoryBytes(options.sampling, model.config().vocab) + Detokenizer::MemoryBytes(tokenizer) +
           StopMatcher::MemoryBytes(options.stop, MaxText(tokenizer));
  }

  // Starts after what `session` has read; its last Append must have succeeded. `prompt`: the tokens before (all, or the
  // last few), for penalties, for the space after a beginning of sequence, and for a character that they left incomplete.
  // Everything passed outlives the generation. Errors: an option out of range, kOutOfMemory.
  static Result<Generation> Create(Session<ModelType>& session, const Tokenizer& tokenizer,
                                   std::span<const TokenId> prompt, const GenerateOptions& options,
                                   std::span<std::byte> memory, ExecutorRef executor) {
    const std::size_t needed = MemoryBytes(session.model(), tokenizer, options);
    if (memory.size() < needed) {
      return Fail(ErrorCode::kOutOfMemory, "generation memory", "needs ", needed, " bytes, has ", memory.size());
    }
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(memory));
    INLAY_ASSIGN_OR_RETURN(Sampler sampler,
                           Sampler::Create(options.sampling, session.model().config().vocab, arena));
    INLAY_ASSIGN_OR_RETURN(Detokenizer detokenizer, Detokenizer::Create(tokenizer, DetokenizeOptions{}, arena));
    INLAY_ASSIGN_OR_RETURN(StopMatcher stops, StopMatcher::Create(options.stop, MaxText(tokenizer), arena));
    for (const TokenId token : prompt) {
      sampler.Accept(token);
      INLAY_CHECK_OK(detokenizer.Feed(token));
    }
    return Generation(session, tokenizer, options, executor, sampler, detokenizer, stops);
  }

  // Samples the next token. False when there is none: see finish_reason(). Cost: a forward pass of one token.
  bool Next() {
    text_ = {};
    if (reason_ != FinishReason::kNone) return false;
    const Result<void> sampled = Sample();
    if (!sampled) {
      status_ = sampled;
      // What was held back was written before the error: it is delivered.
      if (!Finish(FinishReason::kError)) text_ = {};
    }
    return reason_ == FinishReason::kNone || !text_.empty();
  }

  std::string_view text() const { return text_; }    // of the last Next; valid until the next
  TokenId token() const { return token_; }           // the last one sampled; -1 before the first
  std::size_t tokens() const { return tokens_; }     // sampled so far
  FinishReason finish_reason() const { return reason_; }
  const Result<void>& status() const { return status_; }

  // For range-for; one pass.
  struct End {};
  class Iterator {
   public:
    explicit Iterator(Generation& generation) : generation_(&generation) {}
    std::string_view operator*() const { return generation_->text(); }
    Iterator& operator++() {
      more_ = generation_->Next();
      return *this;
    }
    bool operator==(End) const { return !more_; }

   private:
    friend class Generation;
    Generation* generation_;
    bool more_ = true;
  };
  Iterator begin() { return ++Iterator(*this); }
  End end() const { return {}; }

 private:
  Generation(Session<ModelType>& session, const Tokenizer& tokenizer, const GenerateOptions& options,
             ExecutorRef executor, const Sampler& sampler, const Detokenizer& detokenizer, const StopMatcher& stops)
      : session_(&session),
        tokenizer_(&tokenizer),
        options_(options),
        executor_(executor),
        sampler_(sampler),
        detokenizer_(detokenizer),
        stops_(stops) {}

  // The longest text that a detokenizer returns at once: a piece, and a character that was held back.
  static std::size_t MaxText(const Tokenizer& tokenizer) { return tokenizer.max_piece_bytes() + 3; }

  Result<void> Sample() {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
      return Fail(ErrorCode::kCancelled, "generation", "stopped by the caller after ", tokens_, " tokens");
    }
    if (tokens_ == options_.max_tokens) return Finish(FinishReason::kMaxTokens);
    if (pending_) {
      INLAY_CHECK_OK(session_->Append({&token_, 1}, executor_));
      pending_ = false;
    }
    if (session_->logits().empty()) {
      return Fail(ErrorCode::kInvalidArgument, "session", "has no logits: append a prompt first");
    }
    INLAY_ASSIGN_OR_RETURN(token_, sampler_.Sample(session_->logits()));
    sampler_.Accept(token_);
    ++tokens_;
    pending_ = true;
    if (options_.stop_at_end_of_text && tokenizer_->EndsGeneration(token_)) return Finish(FinishReason::kEndOfText);
    INLAY_ASSIGN_OR_RETURN(const std::string_view text, detokenizer_.Feed(token_));
    INLAY_ASSIGN_OR_RETURN(const StopResult result, stops_.Feed(text));
    text_ = result.text;
    if (result.stopped()) reason_ = FinishReason::kStopString;
    return {};
  }

  // Nothing more comes: what was held back is text after all, unless it completes a stop string.
  Result<void> Finish(FinishReason reason) {
    reason_ = reason;
    INLAY_ASSIGN_OR_RETURN(const StopResult result, stops_.Feed(detokenizer_.Flush()));
    text_ = result.text;
    if (result.stopped()) {
      if (reason != FinishReason::kError) reason_ = FinishReason::kStopString;
      return {};
    }
    // The rest stands right behind the text in the matcher's buffer.
    const std::string_view rest = stops_.Flush();
    text_ = {rest.data() - text_.size(), text_.size() + rest.size()};
    return {};
  }

  Session<ModelType>* session_;
  const Tokenizer* tokenizer_;
  GenerateOptions options_;
  ExecutorRef executor_;
  Sampler sampler_;
  Detokenizer detokenizer_;
  StopMatcher stops_;
  std::string_view text_;
  TokenId token_ = -1;
  std::size_t tokens_ = 0;
  bool pending_ = false;
  FinishReason reason_ = FinishReason::kNone;
  Result<void> status_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_GENERATE_GENERATION_HPP_
