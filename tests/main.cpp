// The one entry point of inlay_tests. Boost.Test's runner is compiled in, so that every compiler, sanitizer and CPU gets a
// runner built like the tests, and only Boost's headers need to be installed.
#define BOOST_TEST_MODULE inlay
#define BOOST_TEST_DYN_LINK
#if defined(__EMSCRIPTEN__)
#define BOOST_TEST_DISABLE_ALT_STACK  // there are no signals
#endif
#include <boost/test/included/unit_test.hpp>
