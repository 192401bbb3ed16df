// Commands about text: run, tokenize, detokenize, rerank.
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/host/encoded_text.hpp"
#include "inlay/host/mapped_gguf.hpp"
#include "inlay/host/owned_tokenizer.hpp"
#include "inlay/text/clean_spaces.hpp"
#include "inlay/text/detokenizer.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::Result;
using inlay::TokenId;
using Json = nlohmann::json;

namespace {

// The prompt as the model saw it, so that what follows continues it byte for byte. An incomplete character at its end is
// left to the generation, which completes it.
Result<void> PrintPrompt(const inlay::Tokenizer& tokenizer, std::span<const TokenId> prompt) {
  INLAY_ASSIGN_OR_RETURN(inlay::OwnedBuffer memory,
                         inlay::OwnedBuffer::Create(inlay::Detokenizer::MemoryBytes(tokenizer), "detokenizer"));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(memory.bytes()));
  INLAY_ASSIGN_OR_RETURN(inlay::Detokenizer detokenizer, inlay::Detokenizer::Create(tokenizer, {}, arena));
  for (const TokenId token : prompt) {
    INLAY_ASSIGN_OR_RETURN(const std::string_view text, detokenizer.Feed(token));
    INLAY_CHECK_OK(WriteOut(text));
  }
  return FlushOut();
}

double Mebibytes(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

double PerSecond(std::size_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
}

}  // namespace

Result<void> Run(const RunOptions& options) {
  INLAY_CHECK_OK(options.sampling.Validate());
  const Clock::time_point start = Clock::now();
  INLAY_ASSIGN_OR_RETURN(Engine engine, Engine::Open(options.model));
  const double load_seconds = SecondsSince(start);
  INLAY_ASSIGN_OR_RETURN(const inlay::Tokenizer* const tokenizer, engine.tokenizer());
  INLAY_ASSIGN_OR_RETURN(const std::vector<TokenId> prompt, engine.Encode(options.prompt));
  if (prompt.empty()) return Fail(ErrorCode::kInvalidArgument, "--prompt", "has no tokens, and the model needs at least one");

  inlay::SessionOptions session;
  session.context = DefaultContext(engine.config(), options.model.context);
  session.kv = options.model.kv;
  session.batch = std::min(session.batch, session.context);
  INLAY_ASSIGN_OR_RETURN(const inlay::MemoryPlan plan, engine.PlanFor(session));
  INLAY_CHECK_OK(engine.Start(session));

  const Clock::time_point prompt_start = Clock::now();
  {
    Progress progress("reading the prompt");
    INLAY_CHECK_OK(engine.Append(prompt, progress));
  }
  const double prompt_seconds = SecondsSince(prompt_start);
  INLAY_CHECK_OK(PrintPrompt(*tokenizer, prompt));

  // The last token needs no position: it is chosen, not read.
  const std::size_t room = session.context - prompt.size() + 1;
  const std::size_t max_tokens = options.max_tokens.value_or(std::min<std::size_t>(256, room));
  const Clock::time_point generate_start = Clock::now();
  const auto print = [](std::string_view text, TokenId) -> Result<void> {
    INLAY_CHECK_OK(WriteOut(text));
    return FlushOut();
  };
  INLAY_ASSIGN_OR_RETURN(const Engine::Generated generated,
                         engine.Generate(prompt, max_tokens, options.sampling, !options.ignore_end, print));
  const double generate_seconds = SecondsSince(generate_start);
  if (isatty(STDOUT_FILENO) == 1) INLAY_CHECK_OK(WriteOut("\n"));
  INLAY_CHECK_OK(FlushOut());
  // After an error standard error has one line, which says what it was.
  if (!options.quiet && generated.status) {
    std::fprintf(stderr, "load: %.3f s\n", load_seconds);
    std::fprintf(stderr, "prompt: %zu tokens, %.1f tokens/s\n", prompt.size(), PerSecond(prompt.size(), prompt_seconds));
    std::fprintf(stderr, "generated: %zu tokens, %.1f tokens/s\n", generated.tokens,
                 PerSecond(generated.tokens, generate_seconds));
    std::fprintf(stderr, "memory: weights %.1f MiB (%s), cache %.1f MiB (%zu positions, %s), scratch %.1f MiB\n",
                 Mebibytes(plan.weights), engine.file().was_packed() ? "in the file" : "packed copy",
                 Mebibytes(plan.kv_cache), session.context, std::string(inlay::Name(session.kv)).c_str(),
                 Mebibytes(plan.scratch));
  }
  return generated.status;
}

namespace {

// A tokenizer from a file, whose tensors, if it has any, are not looked at.
struct OpenedTokenizer {
  inlay::MappedGguf gguf;
  inlay::OwnedTokenizer tokenizer;
};

Result<OpenedTokenizer> OpenTokenizer(const TokenizeOptions& options) {
  OpenedTokenizer opened;
  INLAY_ASSIGN_OR_RETURN(inlay::MappedFile mapping, inlay::MappedFile::Open(options.path.c_str()));
  if (inlay::StartsLikeGguf(mapping.bytes())) {
    INLAY_ASSIGN_OR_RETURN(opened.gguf, inlay::MappedGguf::Open(std::move(mapping), options.path.c_str()));
    if (inlay::OwnedTokenizer::IsAbsent(*opened.gguf.file())) {
      return Fail(ErrorCode::kMissing, "tokenizer", "the model file has none");
    }
    INLAY_ASSIGN_OR_RETURN(opened.tokenizer, inlay::OwnedTokenizer::FromGguf(*opened.gguf.file()));
    return opened;
  }
  INLAY_ASSIGN_OR_RETURN(const inlay::Llama2cCheckpoint checkpoint, inlay::Llama2cCheckpoint::Open(mapping.bytes()));
  if (options.tokenizer.empty()) return Fail(ErrorCode::kMissing, "tokenizer", "a checkpoint has none; use --tokenizer");
  INLAY_ASSIGN_OR_RETURN(opened.tokenizer, inlay::OwnedTokenizer::FromLlama2c(options.tokenizer.c_str(),
                                                                             checkpoint.dims().vocab));
  return opened;
}

std::string EncodeBase64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (std::size_t k = 0; k < 4; ++k) text += k <= count ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

// Answers every line of standard input with one line. What is wrong with a line's JSON ends the program; what the
// vocabulary cannot do is an answer, {"error": ...}. With a key, a line is no JSON but the text of that key.
template <class Answer>
Result<void> AnswerLines(Answer answer, const char* key = nullptr) {
  std::string line;
  for (std::size_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = "line " + std::to_string(number) + " of standard input";
    const Json request = key == nullptr ? Json::parse(line, nullptr, false) : Json{{key, line}};
    if (!request.is_object()) return Fail(ErrorCode::kInvalidArgument, where, "is not a JSON object");
    Result<Json> reply = answer(request);
    if (!reply && reply.error().code == ErrorCode::kInvalidArgument) {
      return Fail(ErrorCode::kInvalidArgument, where, reply.error().field.view(), ": ", reply.error().detail.view());
    }
    const Json out = reply ? *reply : Json{{"error", reply.error().Message().c_str()}};
    INLAY_CHECK_OK(WriteOut(out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"));
    INLAY_CHECK_OK(FlushOut());
  }
  return {};
}

Result<bool> Flag(const Json& request, const char* name, bool fallback) {
  const auto found = request.find(name);
  if (found == request.end()) return fallback;
  if (!found->is_boolean()) return Fail(ErrorCode::kInvalidArgument, name, "must be true or false");
  return found->get<bool>();
}

Result<Json> TokenizeLine(const inlay::Tokenizer& tokenizer, const Json& request) {
  std::string text;
  if (const auto plain = request.find("text"); plain != request.end() && plain->is_string()) {
    text = plain->get<std::string>();
  } else if (const auto encoded = request.find("text_base64"); encoded != request.end() && encoded->is_string()) {
    INLAY_ASSIGN_OR_RETURN(text, DecodeBase64(encoded->get_ref<const std::string&>()));
  } else {
    return Fail(ErrorCode::kInvalidArgument, "text", "or text_base64 must be there, as a string");
  }
  inlay::EncodeOptions encode;
  INLAY_ASSIGN_OR_RETURN(encode.add_special, Flag(request, "add_special", encode.add_special));
  INLAY_ASSIGN_OR_RETURN(encode.parse_special, Flag(request, "parse_special", encode.parse_special));
  INLAY_ASSIGN_OR_RETURN(const inlay::EncodedText encoded, inlay::EncodedText::Create(tokenizer, text, encode));
  return Json{{"ids", std::vector<TokenId>(encoded.tokens().begin(), encoded.tokens().end())}};
}

// As llama.cpp's detokenize: "remove_special" leaves out the beginning and end of sequence, "unparse_special" writes
// control tokens as their pieces; where the model's own tokenizer does so, spaces before punctuation are taken out.
Result<Json> DetokenizeLine(const inlay::Tokenizer& tokenizer, const Json& request) {
  const auto found = request.find("ids");
  if (found == request.end() || !found->is_array()) return Fail(ErrorCode::kInvalidArgument, "ids", "must be an array");
  INLAY_ASSIGN_OR_RETURN(const bool remove_special, Flag(request, "remove_special", false));
  INLAY_ASSIGN_OR_RETURN(const bool unparse_special, Flag(request, "unparse_special", true));
  std::vector<TokenId> ids;
  for (const Json& id : *found) {
    if (!id.is_number_integer() || id < 0 || id >= tokenizer.size()) {
      return Fail(ErrorCode::kInvalidArgument, "ids", "must be integers from 0 to ", tokenizer.size() - 1);
    }
    ids.push_back(id.get<TokenId>());
  }
  inlay::DetokenizeOptions options{.special = unparse_special, .leading_space = inlay::LeadingSpace::kStripFirst};
  if (remove_special && !ids.empty() && tokenizer.add_bos() && ids.front() == tokenizer.bos()) {
    ids.erase(ids.begin());
    options.leading_space = inlay::LeadingSpace::kKeep;
  }
  if (remove_special && !ids.empty() && tokenizer.add_eos() && ids.back() == tokenizer.eos()) ids.pop_back();

  INLAY_ASSIGN_OR_RETURN(inlay::OwnedBuffer memory,
                         inlay::OwnedBuffer::Create(inlay::Detokenizer::MemoryBytes(tokenizer), "detokenizer"));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(memory.bytes()));
  INLAY_ASSIGN_OR_RETURN(inlay::Detokenizer detokenizer, inlay::Detokenizer::Create(tokenizer, options, arena));
  std::string text;
  for (const TokenId id : ids) {
    INLAY_ASSIGN_OR_RETURN(const std::string_view piece, detokenizer.Feed(id));
    text += piece;
  }
  text += detokenizer.Flush();
  if (tokenizer.cleans_spaces()) text.resize(inlay::CleanSpaces(text));
  return Json{{"text_base64", EncodeBase64(text)}};
}

}  // namespace

Result<void> Tokenize(const TokenizeOptions& options) {
  INLAY_ASSIGN_OR_RETURN(const OpenedTokenizer opened, OpenTokenizer(options));
  return AnswerLines([&](const Json& request) { return TokenizeLine(*opened.tokenizer.get(), request); });
}

Result<void> Detokenize(const TokenizeOptions& options) {
  INLAY_ASSIGN_OR_RETURN(const OpenedTokenizer opened, OpenTokenizer(options));
  return AnswerLines([&](const Json& request) { return DetokenizeLine(*opened.tokenizer.get(), request); });
}

namespace {

// The text of a key; `otherwise` where there is none.
Result<std::string> TextOf(const Json& request, const char* key, const std::string* otherwise) {
  const auto found = request.find(key);
  if (found == request.end() && otherwise != nullptr) return *otherwise;
  if (found == request.end() || !found->is_string()) return Fail(ErrorCode::kInvalidArgument, key, "must be there, as a string");
  return found->get<std::string>();
}

}  // namespace

Result<void> Rerank(const RerankOptions& options) {
  INLAY_ASSIGN_OR_RETURN(Engine engine, Engine::Open(options.model));
  INLAY_CHECK_OK(engine.StartReranking(options.model.context, options.model.kv, options.cut));
  const auto score = [&](const Json& request) -> Result<Json> {
    INLAY_ASSIGN_OR_RETURN(const std::string query, TextOf(request, "query", options.query.empty() ? nullptr : &options.query));
    INLAY_ASSIGN_OR_RETURN(const std::string document, TextOf(request, "document", nullptr));
    if (Interrupted()) return Fail(ErrorCode::kInvalidArgument, "rerank", "interrupted");
    INLAY_ASSIGN_OR_RETURN(const float value, engine.Rerank(query, document));
    // As few digits as tell the float.
    std::string digits;
    AppendNumbers(digits, {&value, 1});
    return Json{{"score", Json::parse(digits)[0]}};
  };
  return AnswerLines(score, options.lines ? "document" : nullptr);
}

}  // namespace cli
