// URLSession on Linux has no client certificates and no authorities of its own, but the libcurl below it does. Preloaded,
// this library gives every transfer the files that the environment names:
//
//     cc -shared -fPIC -o certificates.so certificates.c -ldl
//     LD_PRELOAD=./certificates.so MLJOB_CURL_CA=ca.crt MLJOB_CURL_CERTIFICATE=alice.crt MLJOB_CURL_KEY=alice.key …
#define _GNU_SOURCE
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdlib.h>

CURLMcode curl_multi_add_handle(CURLM *multi, CURL *easy) {
    static CURLMcode (*real)(CURLM *, CURL *);
    if (!real) real = (CURLMcode(*)(CURLM *, CURL *))dlsym(RTLD_NEXT, "curl_multi_add_handle");
    const char *ca = getenv("MLJOB_CURL_CA"), *certificate = getenv("MLJOB_CURL_CERTIFICATE"), *key = getenv("MLJOB_CURL_KEY");
    if (ca && certificate && key) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, ca);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(easy, CURLOPT_SSLCERT, certificate);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, key);
        curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    }
    return real(multi, easy);
}
