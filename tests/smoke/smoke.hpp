// What the two translation units of the smoke test share.
#ifndef INLAY_TESTS_SMOKE_SMOKE_HPP_
#define INLAY_TESTS_SMOKE_SMOKE_HPP_

#include <cstdio>
#include <string>

#include <inlay/inlay.hpp>

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

// second.cpp
float SumOfDecodedRow(inlay::WeightType type);
std::string StoryOfAnyModel(const char* path);

#endif  // INLAY_TESTS_SMOKE_SMOKE_HPP_
