// Where the reference files are that are too big to live in the repository. Tests that need one skip where it is absent.
#ifndef INLAY_TESTS_SUPPORT_FIXTURES_HPP_
#define INLAY_TESTS_SUPPORT_FIXTURES_HPP_

#include <cstdlib>
#include <filesystem>
#include <string>

#include <boost/test/unit_test.hpp>

namespace inlay_test {

// The file or directory `name` (as "quants/llama_q4_k.json") of the fixtures; empty when there is none. The environment
// variable INLAY_FIXTURES goes before the directory that the build was configured with.
inline std::filesystem::path FixturePath(const std::string& name) {
  const char* directory = std::getenv("INLAY_FIXTURES");
#if defined(INLAY_FIXTURES_DIR)
  if (directory == nullptr) directory = INLAY_FIXTURES_DIR;
#endif
  if (directory == nullptr || *directory == '\0') return {};
  const std::filesystem::path path = std::filesystem::path(directory) / name;
  std::error_code error;
  return std::filesystem::exists(path, error) ? path : std::filesystem::path();
}

// Says that a test did nothing; the harness shows it as skipped, not as passed.
inline void Skip(const std::string& test, const std::string& reason = "no fixtures") {
  BOOST_TEST_MESSAGE("skipped: " << test << " (" << reason << ")");
  BOOST_TEST(true);
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_FIXTURES_HPP_
