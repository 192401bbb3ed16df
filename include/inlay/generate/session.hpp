// A session: one sequence of a model, token by token. Owns nothing: all memory comes from the caller, once.
#ifndef INLAY_GENERATE_SESSION_HPP_
#define INLAY_GENERATE_SESSION_HPP_

#include <algorithm>
#include <cstddef>
#include <span>

#include "inlay/core/arena.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/model/model.hpp"

INLAY_BEGIN_NAMESPACE

// Told after each pass over a prompt: tokens done and in total; false stops (kCancelled).
using PrefillProgress = FunctionRef<bool(std::size_t done, std::size_t total)>;

// One sequence: what has been read and written so far, and the logits of what comes next. Not thread-safe; several
// sessions may share a model. Movable as a view of its memory.
template <class ModelType>
class Session {
 public:
  // Bytes that Create takes from the memory handed over, exactly.
  static Result<std::size_t> MemoryBytes(const ModelType& model, const SessionOptions& options) {
    INLAY_ASSIGN_OR_RETURN(const MemoryPlan plan, model.PlanFor(options));
    return plan.session();
  }

  // `model` and `memory` outlive the session. kOutOfMemory when memory.size() < MemoryBytes; the memory must start at a
  // multiple of 64 bytes. Nothing is allocated, here or later.
  INLAY_COLD static Result<Session> Create(const ModelType& model, const SessionOptions& options, std::span<std::byte> memory) {
    INLAY_ASSIGN_OR_RETURN(const std::size_t needed, MemoryBytes(model, options));
    if (memory.size() < needed) {
      return Fail(ErrorCode::kOutOfMemory, "session memory", "needs ", needed, " bytes, has ", memory.size());
    }
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(memory));
    Session session(model);
    INLAY_ASSIGN_OR_RETURN(session.cache_, model.NewCache(options, arena));
    INLAY_ASSIGN_OR_RETURN(session.workspace_, model.NewWorkspace(options, arena));
    return session;
  }

  const ModelType& model() const { return *model_; }
  std::size_t length() const { return cache_.length(); }        // tokens so far
  std::size_t remaining() const { return cache_.remaining(); }  // positions left

  // Reads tokens and makes the logits of the token after them ready. Long inputs go through in pieces; the result does not
  // depend on the pieces. On any error, also kCancelled, the session is as it was before the call, but without logits.
  Result<void> Append(std::span<const TokenId> tokens, ExecutorRef executor, PrefillProgress progress) {
    const std::size_t start = length();
    cache_.Save();
    logits_ = {};
    if (tokens.empty()) return Fail(ErrorCode::kInvalidArgument, "tokens", "nothing to read");
    if (tokens.size() > remaining()) {
      return Fail(ErrorCode::kContextFull, "tokens", tokens.size(), " tokens, ", remaining(), " of ", cache_.context(),
                  " positions left");
    }
    for (std::size_t done = 0; done < tokens.size();) {
      const std::size_t count = std::min(workspace_.batch(), tokens.size() - done);
      const bool last = done + count == tokens.size();
      const SequenceInput input{&cache_, tokens.subspan(done, count), last ? Outputs::kLast : Outputs::kNone, &adapters_};
      const Result<LogitsView> logits = model_->Forward({&input, 1}, workspace_, executor);
      done += count;
      const bool stop = logits && !progress(done, tokens.size());
      if (!logits || stop) {
        cache_.Truncate(start);
        if (!logits) return logits.error();
        return Fail(ErrorCode::kCancelled, "prompt", "stopped by the caller after ", done, " tokens");
      }
      logits_ = *logits;
    }
    return {};
  }
  Result<void> Append(std::span<const TokenId> tokens, ExecutorRef executor) {
    return Append(tokens, executor, [](std::size_t, std::size_t) { return true; });
  }

  // What the session runs with from now on: low-rank adapters, whose ranks together are at most options.adapter_rank, and
  // control vectors. The arrays outlive their use. What has been read stays as it was read: Truncate(0) begins anew. An
  // adapter that does not fit is an error of the next Append.
  void SetAdapters(const Adapters& adapters) { adapters_ = adapters; }

  // Logits of the next token, [vocab]; empty before the first Append and after an error. Valid until the next call.
  std::span<const float> logits() const { return logits_.rows == 0 ? std::span<const float>() : logits_.row(0); }

  // Forgets everything from position `length` on, and returns how many tokens are left: for a model with recurrent states
  // those before the last Append or none (see SequenceCache), else `length`. The logits are gone: Append at least one token
  // to have them again.
  std::size_t Truncate(std::size_t length) {
    logits_ = {};
    return cache_.Truncate(length);
  }

  // --- saving ---

  // What Save writes now.
  std::size_t SavedBytes() const {
    return SavedSequenceBytes(model_->config(), cache_.type(), length(), logits().size());
  }
  // Writes what has been read so far, and the logits, to the beginning of `out`, and returns the number of bytes (format:
  // model/saved_sequence.hpp). Not part of it: adapters. kTooLarge: `out` has less than SavedBytes() bytes. No allocation.
  Result<std::size_t> Save(std::span<std::byte> out) const {
    return SaveSequence(model_->config(), model_->identity(), cache_, logits(), out);
  }
  // Takes up what another session of the same model and cache type has saved; the context may have another size. What
  // follows is the same to the last bit as if that session had gone on. On an error the session is as it was. kBadFile,
  // kTruncated (every changed or missing byte is found), kUnsupported (version), kMismatch (model, cache type),
  // kContextFull.
  Result<void> Restore(std::span<const std::byte> saved) {
    const std::size_t vocab = model_->config().logits ? model_->config().vocab : 0;
    float* const to = workspace_.scratch().logits;
    INLAY_ASSIGN_OR_RETURN(const std::size_t count, RestoreSequence(model_->config(), model_->identity(), saved, cache_,
                                                                    std::span(to, vocab)));
    logits_ = {to, count == 0 ? std::size_t{0} : std::size_t{1}, model_->config().vocab};
    return {};
  }

 private:
  explicit Session(const ModelType& model) : model_(&model) {}

  const ModelType* model_;
  SequenceCache cache_;
  Workspace workspace_;
  LogitsView logits_;
  Adapters adapters_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_GENERATE_SESSION_HPP_
