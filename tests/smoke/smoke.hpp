// What the two translation units of the smoke test share.
#ifndef INLAY_TESTS_SMOKE_SMOKE_HPP_
#define INLAY_TESTS_SMOKE_SMOKE_HPP_

#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <inlay/inlay.hpp>

#include "tests/support/packed_model.hpp"

// What a model writes when it is left alone, without chance; "" after an error, which is printed.
template <class ModelType>
std::string Story(const char* path) {
  inlay::ThreadPool threads(2);
  auto generator = inlay::TextGenerator<ModelType>::Open(path, threads);
  if (!generator) {
    std::printf("%s\n", generator.error().Message().c_str());
    return {};
  }
  inlay::GenerateOptions options;
  options.max_tokens = 40;
  options.sampling.temperature = 0.0f;
  auto generation = generator->Generate("", options);
  if (!generation) {
    std::printf("%s\n", generation.error().Message().c_str());
    return {};
  }
  std::string story;
  for (const std::string_view text : *generation) story += text;
  return story;
}

// The same from a packed file in memory, step by step, as a program without files or heap would take them.
template <class ModelType>
inlay::Result<std::string> StoryInMemory(std::span<const std::byte> file, std::size_t tokens) {
  using inlay_test::AlignedBytes;
  AlignedBytes index_memory(inlay::GgufFile::IndexBytes(file));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena index, inlay::Arena::Create(index_memory));
  INLAY_ASSIGN_OR_RETURN(const inlay::GgufFile gguf, inlay::GgufFile::Open(file, index));
  INLAY_ASSIGN_OR_RETURN(const inlay::PackedFile packed, inlay::PackedFile::Open(gguf));
  INLAY_CHECK_OK(packed.Verify());
  std::vector<inlay::LayerWeights> layers(packed.config().layers);
  INLAY_ASSIGN_OR_RETURN(const ModelType model,
                         ModelType::Create(packed.config(), packed.types(), packed.weights(), layers));

  INLAY_ASSIGN_OR_RETURN(const std::size_t tokenizer_bytes, inlay::Tokenizer::ArenaBytesFor(gguf));
  AlignedBytes tokenizer_memory(tokenizer_bytes);
  INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(tokenizer_memory));
  INLAY_ASSIGN_OR_RETURN(const inlay::Tokenizer tokenizer, inlay::Tokenizer::FromGguf(gguf, arena));
  constexpr std::string_view kPrompt = "hey you";
  AlignedBytes scratch(tokenizer.EncodeScratchBytes(kPrompt.size()));
  std::vector<inlay::TokenId> prompt(tokenizer.MaxTokens(kPrompt.size()));
  INLAY_ASSIGN_OR_RETURN(const std::size_t count, tokenizer.Encode(kPrompt, {}, scratch, prompt));
  prompt.resize(count);

  inlay::ThreadPool threads(2);
  const inlay::SessionOptions session_options{.context = 300};
  INLAY_ASSIGN_OR_RETURN(const std::size_t bytes, inlay::Session<ModelType>::MemoryBytes(model, session_options));
  AlignedBytes session_memory(bytes);
  INLAY_ASSIGN_OR_RETURN(auto session, inlay::Session<ModelType>::Create(model, session_options, session_memory));
  INLAY_CHECK_OK(session.Append(prompt, threads));
  const inlay::GenerateOptions options{.max_tokens = tokens, .stop_at_end_of_text = false};
  AlignedBytes memory(inlay::Generation<ModelType>::MemoryBytes(model, tokenizer, options));
  INLAY_ASSIGN_OR_RETURN(auto generation, inlay::Generation<ModelType>::Create(session, tokenizer, prompt, options, memory,
                                                                               threads));
  std::string story;
  for (const std::string_view text : generation) {
    story += text;
    story += std::to_string(generation.token()) + ' ';
  }
  INLAY_CHECK_OK(generation.status());
  return story;
}

// second.cpp
inlay::Result<std::string> StoryOfAnyModelInMemory(std::span<const std::byte> file, std::size_t tokens);
float SumOfDecodedRow(inlay::WeightType type);
std::string StoryOfAnyModel(const char* path);

#endif  // INLAY_TESTS_SMOKE_SMOKE_HPP_
